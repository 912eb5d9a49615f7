// The pickle opcodes that this project reads, by the names of Python's pickletools. Whatever is not
// listed here is refused.
#pragma once

namespace drought::pickle {

enum class Opcode : unsigned char {
  mark = '(',
  stop = '.',
  none = 'N',
  binint = 'J',
  binint1 = 'K',
  binint2 = 'M',
  binfloat = 'G',
  binunicode = 'X',
  empty_list = ']',
  append = 'a',
  appends = 'e',
  empty_dict = '}',
  setitem = 's',
  setitems = 'u',
  empty_tuple = ')',
  tuple = 't',
  binget = 'h',
  long_binget = 'j',
  binput = 'q',
  long_binput = 'r',
  proto = 0x80,
  tuple1 = 0x85,
  tuple2 = 0x86,
  tuple3 = 0x87,
  newtrue = 0x88,
  newfalse = 0x89,
  long1 = 0x8a,
  long4 = 0x8b,
  short_binunicode = 0x8c,
  binunicode8 = 0x8d,
  memoize = 0x94,
  frame = 0x95,
};

/// What stands in the low four bits of a Word.
enum class WordTag : unsigned char {
  missing,
  none,
  boolean,
  small_integer,
  written_integer,
  written_real,
  written_string,
  list,
  tuple,
  dict,
};

}  // namespace drought::pickle
