// Byte figures of DeepSeek V4 Flash from a calculator that reproduced six logs of antirez/ds4 issues (293,
// 387, 697, 721), beside this layout.
#include <gtest/gtest.h>

#include <algorithm>

#include "harness/memory/bytes.hpp"
#include "scenarios/span_cover/model_layout.hpp"
#include "scenarios/span_cover/span_log.hpp"

namespace drought {
namespace {

const std::string kQ4 = "deepseek-v4-flash-q4", kQ2 = "deepseek-v4-flash-q2";

Spans spans_of(const ModelLayout& layout, std::string_view layers) {
  return slice_spans(layout, parse_slice(layers, layout.layers));
}

std::uint64_t layer_bytes(const ModelLayout& layout, unsigned layer) {
  std::uint64_t bytes = 0;
  for (const ModelTensor& tensor : layout.tensors)
    if (tensor.group == ModelTensor::Group::layer && tensor.layer == layer) bytes += tensor.bytes;
  return bytes;
}

TEST(SpanLayout, HasTheBytesOfEveryLayerInBothQuantisations) {
  struct {
    std::string model;
    std::uint64_t plain, ratio_4, ratio_128;
  } const figures[] = {
      {kQ4, 3'771'068'888, 3'806'253'016, 3'776'488'920},
      {kQ2, 1'959'129'560, 1'994'313'688, 1'964'549'592},
  };
  for (const auto& figure : figures) {
    const ModelLayout layout = make_layout({.model = figure.model});
    ASSERT_EQ(layout.layers, 43u);
    for (unsigned layer = 0; layer < layout.layers; ++layer) {
      std::uint64_t expected =
          layer < 2 ? figure.plain : (layer % 2 == 0 ? figure.ratio_4 : figure.ratio_128);
      if (layer == 2) expected += 3'101'696;
      EXPECT_EQ(layer_bytes(layout, layer), expected) << figure.model << " layer " << layer;
    }
  }
}

TEST(SpanLayout, HasTheBytesOfTheWholeFileTheEmbeddingAndTheHead) {
  EXPECT_EQ(make_layout({.model = kQ4}).tensor_bytes(), 164'628'167'004u);
  EXPECT_EQ(make_layout({.model = kQ2}).tensor_bytes(), 86'714'775'900u);
  std::uint64_t embedding = 0, head = 0;
  for (const ModelTensor& tensor : make_layout({}).tensors) {
    if (tensor.group == ModelTensor::Group::embedding) embedding += tensor.bytes;
    if (tensor.group == ModelTensor::Group::head) head += tensor.bytes;
  }
  EXPECT_EQ(embedding, 1'059'061'760u);
  EXPECT_EQ(head, 562'774'036u);
}

TEST(SpanLayout, GivesEachLoggedSliceItsSpansAndBytes) {
  struct {
    std::string model;
    std::string layers;
    std::size_t spans;
    std::uint64_t bytes;
    std::string gib;
  } const slices[] = {
      {kQ4, "21:output", 48, 83'972'935'332, "78.21 GiB"},
      {kQ4, "23:output", 44, 76'390'193'396, "71.14 GiB"},
      {kQ4, "21:42+output", 48, 83'972'935'332, "78.21 GiB"},
      {kQ4, "0:20+output", 46, 0, "75.64 GiB"},
      {kQ4, "0:20", 0, 0, "75.12 GiB"},
      {kQ4, "21:42", 0, 0, "77.68 GiB"},
      {kQ2, "21:output", 48, 44'110'270'116, "41.08 GiB"},
      {kQ2, "23:output", 44, 0, "37.39 GiB"},
      {kQ2, "0:20", 0, 0, "39.68 GiB"},
      {kQ2, "21:42", 0, 0, "40.56 GiB"},
  };
  for (const auto& slice : slices) {
    const Spans spans = spans_of(make_layout({.model = slice.model}), slice.layers);
    if (slice.spans != 0) {
      EXPECT_EQ(spans.size(), slice.spans) << slice.model << " " << slice.layers;
    }
    if (slice.bytes != 0) {
      EXPECT_EQ(sum_of(spans), slice.bytes) << slice.model << " " << slice.layers;
    }
    EXPECT_EQ(format_bytes(sum_of(spans)), slice.gib) << slice.model << " " << slice.layers;
  }
}

TEST(SpanLayout, MakesACoordinatorsIntervalTheWholeFileWhenTheHeadIsLast) {
  const ModelLayout layout = make_layout({});
  const Spans spans = spans_of(layout, "0:20+output");
  EXPECT_EQ(spans.front().offset, layout.header_bytes);
  EXPECT_EQ(spans.back().offset + spans.back().bytes, layout.file_bytes);
  EXPECT_EQ(format_bytes(layout.file_bytes - layout.header_bytes), "153.32 GiB");
  const Spans worker = spans_of(layout, "21:output");
  EXPECT_EQ(format_bytes(layout.file_bytes - worker.front().offset), "79.19 GiB");
}

TEST(SpanLayout, KeepsEverySpanInsideTheFileAndApartInEveryOrder) {
  std::vector<std::string> order{"head", "layers", "token_embd"};
  do {
    for (const char* layers : {"layers", "interleaved"}) {
      std::vector<std::string> chosen = order;
      std::replace(chosen.begin(), chosen.end(), std::string("layers"), std::string(layers));
      const ModelLayout layout = make_layout({.order = chosen});
      EXPECT_EQ(layout.tensor_bytes(), 164'628'167'004u);
      const Spans spans = spans_of(layout, "21:output");
      EXPECT_EQ(sum_of(spans), 83'972'935'332u);
      std::uint64_t end = 0;
      for (const SpanMap::Span& span : spans) {
        EXPECT_GT(span.offset, end);
        end = span.offset + span.bytes;
      }
      EXPECT_LE(end, layout.file_bytes);
    }
  } while (std::next_permutation(order.begin(), order.end()));
}

TEST(SpanLayout, SplitsEveryTensorBetweenTwoWorkersWhoseSlicesMeet) {
  for (const std::string& model : layout_names()) {
    const ModelLayout layout = make_layout({.model = model});
    for (unsigned last = 0; last + 1 < layout.layers; ++last) {
      const Spans low = spans_of(layout, "0:" + std::to_string(last));
      const Spans high = spans_of(layout, std::to_string(last + 1) + ":output");
      EXPECT_EQ(sum_of(low) + sum_of(high), layout.tensor_bytes()) << model << " cut after " << last;
      EXPECT_LT(low.front().offset, high.front().offset);
    }
  }
}

TEST(SpanLayout, RefusesASliceOrAnOrderThatCannotBe) {
  for (const char* layers : {"", "21", "21:", ":42", "a:b", "21:43", "43:output", "5:4", "0:20+head",
                             "0:20:30", "-1:3", "0:4294967296", "21:42 "})
    EXPECT_THROW(parse_slice(layers, 43), std::invalid_argument) << layers;
  EXPECT_THROW(make_layout({.model = "deepseek"}), std::invalid_argument);
  EXPECT_THROW(make_layout({.order = {"layers", "head"}}), std::invalid_argument);
  EXPECT_THROW(make_layout({.order = {"layers", "interleaved", "head"}}), std::invalid_argument);
}

TEST(SpanLog, IsFlaggedWhenItsCoverEndsPastTheModel) {
  const SpanLog log =
      parse_span_log("ds4: CUDA span cover 78.21 GiB of 150.00 GiB model (48 spans, offset 72.00 GiB)");
  EXPECT_EQ(log.spans, 48u);
  EXPECT_EQ(contradiction(log),
            "offset 72.00 GiB and cover 78.21 GiB end at 150.21 GiB, past a model of 150.00 GiB");
}

TEST(SpanLog, AgreesWithItselfForEverySliceOfEveryModel) {
  for (const std::string& model : layout_names()) {
    const ModelLayout layout = make_layout({.model = model});
    for (unsigned first = 0; first < layout.layers; ++first) {
      const Spans spans = spans_of(layout, std::to_string(first) + ":output");
      const std::string text =
          span_log_text(sum_of(spans), layout.file_bytes, spans.size(), spans.front().offset);
      EXPECT_EQ(contradiction(parse_span_log(text)), "") << text;
    }
  }
}

TEST(SpanLog, IsRefusedWhenItIsAnotherMessageOrHoldsNoNumber) {
  for (const char* line : {"", "span cover", "registered 80.76 GiB",
                           "span cover 78.21 GiB of 150.00 GiB model (48 spans, offset 72.00 GiB"})
    EXPECT_THROW(parse_span_log(line), std::invalid_argument) << line;
  EXPECT_NE(contradiction(parse_span_log("span cover nan GiB of 1.00 GiB model (1 spans, offset 0.00 GiB)")),
            "");
  EXPECT_NE(contradiction(parse_span_log("span cover 0.00 GiB of 1.00 GiB model (0 spans, offset 0.00 GiB)")),
            "");
}

}  // namespace
}  // namespace drought
