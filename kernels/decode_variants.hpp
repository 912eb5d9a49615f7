// The types and sizes that portable decode attention is compiled for: every floating-point type at every
// head_dim and over a latent cache, quantised caches under 16-bit queries where ggml's blocks of 32 fit.
#pragma once

#include "harness/simt/launch.hpp"
#include "kernels/decode_block.hpp"
#include "kernels/decode_combine.hpp"
#include "kernels/mla_block.hpp"

namespace drought {

template <typename T>
using PlainDecode = Variants<DecodeBlock<T, PlainRows<T>, 64>, DecodeBlock<T, PlainRows<T>, 72>,
                             DecodeBlock<T, PlainRows<T>, 80>, DecodeBlock<T, PlainRows<T>, 96>,
                             DecodeBlock<T, PlainRows<T>, 128>, DecodeBlock<T, PlainRows<T>, 256>,
                             DecodeBlock<T, PlainRows<T>, 192, 128>, MlaBlock<T>>;

template <typename T>
using QuantisedDecode =
    Variants<DecodeBlock<T, Fp8Rows, 64>, DecodeBlock<T, Fp8Rows, 128>, DecodeBlock<T, Int8Rows, 64>,
             DecodeBlock<T, Int8Rows, 128>, DecodeBlock<T, Q8_0Rows, 64>, DecodeBlock<T, Q8_0Rows, 128>,
             DecodeBlock<T, Q8_0Rows, 256>, DecodeBlock<T, Q4_0Rows, 64>, DecodeBlock<T, Q4_0Rows, 128>,
             DecodeBlock<T, Q4_0Rows, 256>>;

template <typename T>
using DecodeCombines =
    Variants<DecodeCombine<T, 64>, DecodeCombine<T, 72>, DecodeCombine<T, 80>, DecodeCombine<T, 96>,
             DecodeCombine<T, 128>, DecodeCombine<T, 256>, DecodeCombine<T, 512>>;

template <typename... Lists>
struct Joined;
template <typename... Functors>
struct Joined<Variants<Functors...>> {
  using List = Variants<Functors...>;
};
template <typename... First, typename... Second, typename... Rest>
struct Joined<Variants<First...>, Variants<Second...>, Rest...>
    : Joined<Variants<First..., Second...>, Rest...> {};

using DecodeVariants = Joined<PlainDecode<float>, PlainDecode<bf16>, PlainDecode<fp16>, QuantisedDecode<bf16>,
                              QuantisedDecode<fp16>>::List;
using DecodeCombineVariants = Joined<DecodeCombines<float>, DecodeCombines<bf16>, DecodeCombines<fp16>>::List;

/// Calls visit(Functor{}) for the variant of `types`; false when there is none.
template <typename... Functors, typename Visit>
bool visit_variant(Variants<Functors...>, const DecodeTypes& types, Visit visit) {
  return ((Functors::types == types && (visit(Functors{}), true)) || ...);
}

}  // namespace drought
