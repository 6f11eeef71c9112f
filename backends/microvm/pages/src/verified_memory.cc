#include "writ/backends/microvm/pages/verified_memory.h"

#include <cstring>
#include <span>
#include <string_view>
#include <utility>

namespace writ::backends::microvm::pages {
namespace {

bool IsAllZero(const char* page) {
  return page[0] == 0 && std::memcmp(page, page + 1, kPageBytes - 1) == 0;
}

}  // namespace

Result<std::unique_ptr<VerifiedMemory>> VerifiedMemory::Make(LayeredMemory memory,
                                                             LeafTable table) {
  if (table.memory_bytes != memory.memory_bytes())
    return Error{ErrorKind::kInvalid, "pages.leaf_table",
                 "a snapshot's leaf table and its memory are not of one size"};
  return std::unique_ptr<VerifiedMemory>(new VerifiedMemory(std::move(memory), std::move(table)));
}

VerifiedMemory::VerifiedMemory(LayeredMemory memory, LeafTable table)
    : memory_(std::move(memory)), table_(std::move(table)), state_(memory_.leaves()) {}

Status VerifiedMemory::VerifyLeaf(std::uint64_t leaf) {
  std::atomic<std::uint8_t>& state = state_[leaf];
  std::uint8_t seen = state.load(std::memory_order_acquire);
  for (;;) {
    if (seen == kGood) return {};
    if (seen == kBad)
      return Error{ErrorKind::kIntegrity, "pages.leaf",
                   "leaf " + std::to_string(leaf) +
                       " of the snapshot's memory is not what its manifest says"};
    if (seen == kBusy) {
      state.wait(kBusy, std::memory_order_acquire);
      seen = state.load(std::memory_order_acquire);
      continue;
    }
    if (!state.compare_exchange_weak(seen, kBusy, std::memory_order_acq_rel)) continue;
    Result<State> judged = Judge(leaf);
    seen = judged ? *judged : kUnknown;
    if (seen == kBad) damaged_.store(true, std::memory_order_relaxed);
    state.store(seen, std::memory_order_release);
    state.notify_all();
    if (!judged) return std::move(judged).error();
  }
}

Result<VerifiedMemory::State> VerifiedMemory::Judge(std::uint64_t leaf) {
  const std::uint64_t size = memory_.LeafSize(leaf);
  if (memory_.IsHole(leaf)) return table_.leaves[leaf] == ZeroLeafDigest(size) ? kGood : kBad;
  alignas(64) thread_local char buffer[kLeafBytes];
  WRIT_TRY(memory_.ReadLeaf(leaf, std::span(buffer).first(size)));
  hashed_.fetch_add(1, std::memory_order_relaxed);
  if (LeafDigest(std::string_view(buffer, size)) != table_.leaves[leaf]) return kBad;
  for (std::uint64_t i = 0; i < size / kPageBytes; ++i)
    if (IsAllZero(buffer + i * kPageBytes)) memory_.MarkZero(leaf * kLeafPages + i);
  return kGood;
}

}  // namespace writ::backends::microvm::pages
