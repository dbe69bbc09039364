// The table of the row losses, compiled beside the other kernels of the instruction set.
#pragma once

#include "kernels.hpp"
#include "level.hpp"

namespace omniloss::OMNILOSS_LEVEL {

constexpr int row_kernel_count = 13;
extern const RowKernel row_kernels[row_kernel_count];

}  // namespace omniloss::OMNILOSS_LEVEL
