#include "memory.hpp"

#include <atomic>
#include <cstdint>
#include <cstdlib>
#include <new>

#if defined(__linux__)
#include <sys/mman.h>
#endif

#if defined(MADV_HUGEPAGE) && defined(MADV_FREE)
#define OMNILOSS_KEEPS_MEMORY
#endif

namespace omniloss {
namespace {

// Stands in front of the bytes that are handed out.
struct alignas(std::max_align_t) Block {
    std::size_t bytes;
    int passed = 0;  // how often another was wanted since it was freed

    void* memory() { return this + 1; }
    static Block* of(void* memory) { return static_cast<Block*>(memory) - 1; }
};

Block* make_block(std::size_t bytes) {
    void* memory = std::malloc(sizeof(Block) + bytes);
    if (memory == nullptr) throw std::bad_alloc();
    return new (memory) Block{bytes};
}

#ifdef OMNILOSS_KEEPS_MEMORY

constexpr std::size_t large = std::size_t{1} << 22;

// Blocks that were freed: as many as a step may need, of a loss of three arrays the gradients
std::atomic<Block*> kept[3] = {};

// What the system makes of it changes nothing but the time and where the memory counts.
void advise(Block* block, int advice, std::size_t page) {
    const auto begin = reinterpret_cast<std::uintptr_t>(block->memory()), end = begin + block->bytes;
    const std::uintptr_t first = (begin + page - 1) / page * page, last = end / page * page;
    if (first < last) madvise(reinterpret_cast<void*>(first), last - first, advice);
}

// So often may a kept block not serve before it goes back.
constexpr int patience = 8;

// Puts a block in a free place, or gives it back.
Block* put(Block* block) {
    for (std::atomic<Block*>& place : kept) {
        Block* none = nullptr;
        if (place.compare_exchange_strong(none, block)) return nullptr;
    }
    return block;
}

Block* make_large_block(std::size_t bytes) {
    Block* fitting = nullptr;
    for (std::atomic<Block*>& place : kept) {
        Block* found = place.exchange(nullptr);
        if (found == nullptr) continue;
        // One that is much too large would keep memory from others for as long as this tensor lives.
        if (fitting == nullptr && found->bytes >= bytes && found->bytes / 2 <= bytes) {
            fitting = found;
        } else {
            std::free(++found->passed < patience ? put(found) : found);
        }
    }
    if (fitting != nullptr) return fitting;
    Block* block = make_block(bytes);
    advise(block, MADV_HUGEPAGE, 4096);
    return block;
}

void keep(Block* block) {
    // The system may have it back at any time, without a copy, when memory runs short. Parts of a large
    // page would break that page up.
    advise(block, MADV_FREE, std::size_t{1} << 21);
    block->passed = 0;
    if (put(block) != nullptr) std::free(kept[0].exchange(block));
}

#endif

}  // namespace

void* allocate(std::size_t bytes) {
#ifdef OMNILOSS_KEEPS_MEMORY
    if (bytes >= large) return make_large_block(bytes)->memory();
#endif
    return make_block(bytes)->memory();
}

void release(void* memory) {
    Block* block = Block::of(memory);
#ifdef OMNILOSS_KEEPS_MEMORY
    if (block->bytes >= large) return keep(block);
#endif
    std::free(block);
}

}  // namespace omniloss
