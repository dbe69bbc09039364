#include "parallel.hpp"

#include <atomic>

#if defined(__unix__) || defined(__APPLE__)
#include <pthread.h>
#define OMNILOSS_HAS_FORK
#endif

namespace omniloss {
namespace {

std::atomic<bool> forked{false};
std::atomic<int> last_team{1};

#ifdef _OPENMP
std::atomic<int> threads{omp_get_max_threads()};
#else
std::atomic<int> threads{1};
#endif

#ifdef OMNILOSS_HAS_FORK
[[maybe_unused]] const int fork_handler =
    pthread_atfork(nullptr, nullptr, [] { forked.store(true, std::memory_order_relaxed); });
#endif

}  // namespace

void set_thread_count(int count) { threads.store(count, std::memory_order_relaxed); }

int thread_count() { return threads.load(std::memory_order_relaxed); }

int usable_threads() {
    return forked.load(std::memory_order_relaxed) ? 1 : threads.load(std::memory_order_relaxed);
}

void record_team(int size) { last_team.store(size, std::memory_order_relaxed); }

int recorded_team() { return last_team.load(std::memory_order_relaxed); }

}  // namespace omniloss
