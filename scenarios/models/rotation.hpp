// How the queries and keys of a program are turned by their positions: the rope kernel's shape, and where its
// tables lie on the device.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <utility>

#include "kernels/rope.hpp"
#include "scenarios/models/program.hpp"

namespace drought {

struct Rotation {
  Rope::Shape shape;  ///< Of tokens and heads, those of a call.
  Program::Value positions = 0, frequencies = 0, axes = 0;

  /// `x`, [tokens][heads][head_dim], turned.
  Program::Value turn(Program& program, std::string what, Program::Value x, std::size_t tokens,
                      std::size_t heads) const {
    Rope::Shape of_call = shape;
    of_call.tokens = tokens;
    of_call.heads = heads;
    auto kernel = std::make_unique<Rope>(of_call);
    const Program::Value turned = program.made("rotated", kernel->plan()[Rope::out].bytes);
    program.call(std::move(what), std::move(kernel), {x, positions, frequencies, axes, turned});
    return turned;
  }
};

}  // namespace drought
