// From a kernel functor to the two bodies of a launch. A functor is a struct with
//
//   using Arguments = ...;                       // trivially copyable; laid out alike by both compilers
//   static constexpr unsigned threads_max = ...; // of a block
//   template <typename Context> DROUGHT_DEVICE static void body(Context&, const Arguments&);
//
// A kernel lists its functors, one for each type and size that it is compiled for, as Variants. Its line in
// kernels/catalogue.cpp makes the host's bodies of the list, its line in kernels/catalogue.cu makes CUDA's.
#pragma once

#include <cstddef>
#include <type_traits>

#include "harness/device/launch.hpp"

namespace drought {

template <typename... Functors>
struct Variants {
  static constexpr std::size_t count = sizeof...(Functors);

  /// The place of `Functor` in the list; count when it is not there.
  template <typename Functor>
  static constexpr std::size_t place() {
    std::size_t at = 0;
    static_cast<void>(((std::is_same_v<Functor, Functors> || (++at, false)) || ...));
    return at;
  }
};

/// Defined in host_launch.hpp, which catalogue.cpp includes and thereby makes the bodies of what it lists.
template <typename List>
struct HostBodies {
  static HostBody at(std::size_t place);
};

/// Defined in cuda_launch.hpp, and made by the explicit instantiations in catalogue.cu.
template <typename List>
struct CudaBodies {
  static CudaBody at(std::size_t place);
};

struct Bodies {
  HostBody host = nullptr;
  CudaBody cuda = nullptr;
};

/// `cuda` is null in a build without nvcc.
template <typename List, typename Functor>
Bodies bodies_of() {
  static_assert(List::template place<Functor>() < List::count, "the functor is in no list");
  static_assert(std::is_trivially_copyable_v<typename Functor::Arguments>);
  constexpr std::size_t place = List::template place<Functor>();
#if defined(DROUGHT_HAS_CUDA)
  return {HostBodies<List>::at(place), CudaBodies<List>::at(place)};
#else
  return {HostBodies<List>::at(place), nullptr};
#endif
}

}  // namespace drought
