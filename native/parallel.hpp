// Threads: a loop over blocks whose results do not depend on the number of threads, because the
// blocks do not, and because every block writes only what is its own.
#pragma once

#include <cstddef>

#ifdef _OPENMP
#include <omp.h>
#endif

#include "level.hpp"

namespace omniloss {

void set_thread_count(int count);
int thread_count();
// The number of threads to use now: 1 in a child process after fork, where OpenMP would hang.
int usable_threads();
// What the last loop over blocks really ran on.
void record_team(int size);
int recorded_team();

namespace OMNILOSS_LEVEL {

// body(block) for every block in [0, count), in any order, on several threads unless all of them are done
// sooner than a thread would be there. It must not throw.
template <class Body> void for_blocks(std::ptrdiff_t count, const Body& body, bool short_work = false) {
#ifdef _OPENMP
    const int available = usable_threads();
    const int threads = count < available ? static_cast<int>(count) : available;
    if (threads > 1 && !short_work) {
        int team = 1;
        // Several neighbouring blocks to a thread at a time, so that two threads seldom touch, and make
        // the system clear, the same new page of 2 MiB.
        const std::ptrdiff_t share = count / (4 * threads);
        const std::ptrdiff_t chunk = share < 1 ? 1 : (share < 32 ? share : 32);
#pragma omp parallel num_threads(threads) shared(team, body)
        {
#pragma omp single nowait
            team = omp_get_num_threads();
#pragma omp for schedule(dynamic, chunk)
            for (std::ptrdiff_t block = 0; block < count; ++block) body(block);
        }
        record_team(team);
        return;
    }
#endif
    for (std::ptrdiff_t block = 0; block < count; ++block) body(block);
    record_team(1);
}

}  // namespace OMNILOSS_LEVEL
}  // namespace omniloss
