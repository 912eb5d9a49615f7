// How a public call of the device passes the gate. Apart from the class, because only the files that
// define those calls need it.
#pragma once

#include "harness/device/device.hpp"

namespace drought {

template <typename Made>
Status Device::through(Call& call, Made&& made) {
  Status status;
  if (!gate_) {
    status = made();
  } else {
    gate_->enter(call);
    status = call.refused ? *call.refused : made();
    if (!call.refused && call.answer) status = *call.answer;
    gate_->leave(call, status);
  }
  // cudaErrorNotReady is an answer, not an error: it does not enter the slot.
  if (status != Status::success && status != Status::not_ready) last_error_ = status;
  return status;
}

template <typename Made>
Status Device::through(Call&& call, Made&& made) {
  return through(call, made);
}

}  // namespace drought
