// Memory for new tensors. The first touch of new memory costs more than most losses: the system has to
// clear each page. So large pages are asked for, and the last large blocks that were freed are kept for
// the next ones, as the gradients of a training loop have the same sizes in every step.
#pragma once

#include <cstddef>

namespace omniloss {

// At least so many bytes, aligned as malloc aligns. Throws std::bad_alloc.
void* allocate(std::size_t bytes);
void release(void* memory);

}  // namespace omniloss
