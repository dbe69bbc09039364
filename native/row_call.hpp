// The Python function `rowwise`, and what it shares with Plan.
#pragma once

#include <nanobind/nanobind.h>

#include "buffers.hpp"
#include "kernels.hpp"

namespace omniloss {

// Takes the shape and the operands of a job from its arrays, after the targets' shape was checked.
void fill_rows(RowJob& job, const Buffer& targets, const Buffer& predictions, bool labels);

void bind_rowwise(nanobind::module_& module);

}  // namespace omniloss
