// A loss of three arrays with all of its options fixed, ready for the quickest call on plain arrays.
#pragma once

#include <nanobind/nanobind.h>

namespace omniloss {

void bind_triple_plan(nanobind::module_& module);

}  // namespace omniloss
