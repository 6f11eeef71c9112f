#include "writ/backends/microvm/pages/working_set.h"

#include <algorithm>
#include <utility>

#include "writ/backends/launch/wire.h"
#include "writ/backends/microvm/pages/layered_memory.h"

namespace writ::backends::microvm::pages {
namespace {

constexpr std::string_view kMagic = "writws1\n";
constexpr std::size_t kDigestBytes = 32;
constexpr std::uint64_t kLeastShare = kWholeShare / 16;
constexpr std::uint64_t kLeastSampled = 8;
constexpr std::uint64_t kPieceBytes = 16;  // in the file

std::string_view Bytes(const protocol::Digest& digest) {
  return {reinterpret_cast<const char*>(digest.bytes().data()), kDigestBytes};
}

}  // namespace

std::span<const WorkingSet::Piece> WorkingSet::Prefetched() const {
  return std::span(pieces_).first((pieces_.size() * share_ + kWholeShare - 1) / kWholeShare);
}

void WorkingSet::AddRecording(std::span<const std::uint32_t> pages) {
  for (const std::uint32_t page : pages) {
    const std::uint64_t index = page / kPiecePages;
    const auto [at, added] = where_.try_emplace(index, pieces_.size());
    if (added) pieces_.push_back({index, 0});
    pieces_[at->second].mask |= 1ull << (page % kPiecePages);
  }
  ++recordings_;
}

bool WorkingSet::Adapt(std::uint64_t sampled, std::uint64_t touched) {
  sampled_ += sampled;
  touched_ += touched;
  if (sampled_ < kLeastSampled) return false;
  const std::uint64_t before = share_;
  if (touched_ * 2 < sampled_) share_ = std::max(kLeastShare, share_ / 2);
  if (touched_ * 5 > sampled_ * 4) share_ = std::min(kWholeShare, share_ * 2);
  sampled_ = touched_ = 0;
  return share_ != before;
}

std::string WorkingSet::Encode(const protocol::Digest& root, std::uint64_t memory_bytes) const {
  launch::Writer numbers;
  numbers.Number(memory_bytes);
  numbers.Number(recordings_);
  numbers.Number(share_);
  numbers.Number(pieces_.size());
  for (const Piece& piece : pieces_) {
    numbers.Number(piece.index);
    numbers.Number(piece.mask);
  }
  std::string out(kMagic);
  out += Bytes(root);
  out += numbers.bytes();
  out += Bytes(protocol::Sha256(out));
  return out;
}

Result<WorkingSet> WorkingSet::Decode(std::string_view bytes, const protocol::Digest& root,
                                      std::uint64_t memory_bytes) {
  const Error refused{ErrorKind::kInvalid, "pages.working_set",
                      "a recorded working set is damaged or of another snapshot"};
  if (!bytes.starts_with(kMagic) || bytes.size() < kMagic.size() + 2 * kDigestBytes ||
      bytes.size() > kMaxWorkingSetBytes ||
      bytes.substr(kMagic.size(), kDigestBytes) != Bytes(root))
    return refused;
  const std::string_view sum = bytes.substr(bytes.size() - kDigestBytes);
  bytes.remove_suffix(kDigestBytes);
  if (Bytes(protocol::Sha256(bytes)) != sum) return refused;
  launch::Reader in(bytes.substr(kMagic.size() + kDigestBytes));
  WorkingSet set;
  if (in.Number() != memory_bytes) return refused;
  set.recordings_ = in.NumberAtMost(kRecordings);
  set.share_ = in.NumberAtMost(kWholeShare);
  const std::uint64_t count = in.Count(kPieceBytes);
  const std::uint64_t pages = memory_bytes / kPageBytes;
  for (std::uint64_t i = 0; i < count && in.ok(); ++i) {
    Piece piece{in.Number(), in.Number()};
    const std::uint64_t last = piece.mask == 0
                                   ? pages
                                   : piece.index * kPiecePages + 63 -
                                         static_cast<std::uint64_t>(__builtin_clzll(piece.mask));
    if (piece.index >= pages || last >= pages ||
        !set.where_.try_emplace(piece.index, set.pieces_.size()).second)
      return refused;
    set.pieces_.push_back(piece);
  }
  if (!in.AtEnd() || set.share_ < kLeastShare) return refused;
  return set;
}

}  // namespace writ::backends::microvm::pages
