// A loss with all of its options fixed, ready for the quickest call on plain NumPy arrays.
#pragma once

#include <nanobind/nanobind.h>

namespace omniloss {

void bind_plan(nanobind::module_& module);

}  // namespace omniloss
