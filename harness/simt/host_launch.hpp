// Makes the host's bodies of a list of kernel functors.
#pragma once

#include <cstring>

#include "harness/simt/host_context.hpp"
#include "harness/simt/launch.hpp"

namespace drought {

/// The HostBody of one functor: invalid_value when the arguments are not the functor's.
template <typename Functor>
Status host_body(const Launch& launch) {
  using Arguments = typename Functor::Arguments;
  if (launch.arguments_bytes != sizeof(Arguments) || launch.block.volume() > Functor::threads_max)
    return Status::invalid_value;
  Arguments arguments;
  std::memcpy(&arguments, launch.arguments, sizeof arguments);
  return run_on_host(
      launch,
      [](HostContext& context, const void* given) {
        Functor::body(context, *static_cast<const Arguments*>(given));
      },
      &arguments);
}

template <typename... Functors>
HostBody host_body_at(Variants<Functors...>, std::size_t place) {
  constexpr HostBody bodies[] = {&host_body<Functors>...};
  return bodies[place];
}

template <typename List>
HostBody HostBodies<List>::at(std::size_t place) {
  return host_body_at(List{}, place);
}

}  // namespace drought
