// The kernels of the losses of three arrays, which triple_kernels.cpp compiles once for each instruction set.
#pragma once

#include "kernels.hpp"

namespace omniloss::OMNILOSS_LEVEL {

constexpr int triple_kernel_count = 4;
extern const TripleKernel triple_kernels[triple_kernel_count];

}  // namespace omniloss::OMNILOSS_LEVEL
