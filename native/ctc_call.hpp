// The Python function `ctc`.
#pragma once

#include <nanobind/nanobind.h>

namespace omniloss {

void bind_ctc(nanobind::module_& module);

}  // namespace omniloss
