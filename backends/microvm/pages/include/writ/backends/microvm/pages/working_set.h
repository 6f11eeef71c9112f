// WorkingSet: which pages clones of a snapshot touch first, in that order, as pieces of 256 KiB.
//
// Recorded on the first restores, stored beside the memory file (kWorkingSetName) and prefetched on
// later ones. A hint and no more: it decides what is placed early, never what a page holds (pages
// are verified whoever asks for them); what cannot be read is left aside and recorded anew. It
// holds which pages guests touched, so a guest may make it longer, up to kMaxRecordedPages, and the
// next restore slower; the share that is prefetched goes down when what was prefetched is not used.
//   file   "writws1\n", root, memory size, recordings, share, count, count * (piece, pages as a
//          bit mask), all numbers 8 bytes little-endian, then SHA-256 of everything before
// Plain value, not thread-safe.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "writ/base/result.h"
#include "writ/protocol/digest.h"

namespace writ::backends::microvm::pages {

inline constexpr char kWorkingSetName[] = "memory.working-set";
inline constexpr std::uint64_t kPiecePages = 64;
inline constexpr std::uint64_t kMaxRecordedPages = 131072;  // of one restore: 512 MiB
inline constexpr std::uint64_t kMaxWorkingSetBytes = 8ull << 20;
inline constexpr std::uint64_t kRecordings = 3;    // of a snapshot
inline constexpr std::uint64_t kWholeShare = 256;  // in 256ths of the pieces

class WorkingSet {
 public:
  struct Piece {
    std::uint64_t index = 0;  // of 64 pages
    std::uint64_t mask = 0;
  };

  const std::vector<Piece>& pieces() const { return pieces_; }
  // The pieces that are worth prefetching now.
  std::span<const Piece> Prefetched() const;
  std::uint64_t recordings() const { return recordings_; }
  bool WantsRecording() const { return recordings_ < kRecordings; }

  // What one restore touched, in order. Pages that are in already keep their place.
  void AddRecording(std::span<const std::uint32_t> pages);
  // What one restore measured (counters.h); restores are added up until eight leaves were sampled.
  // Under half used: half the share from now on, at least a sixteenth; over four fifths: twice.
  // False where it changed nothing.
  bool Adapt(std::uint64_t sampled, std::uint64_t touched);

  std::string Encode(const protocol::Digest& root, std::uint64_t memory_bytes) const;
  // kInvalid "pages.working_set": damaged, or of another snapshot.
  static Result<WorkingSet> Decode(std::string_view bytes, const protocol::Digest& root,
                                   std::uint64_t memory_bytes);

 private:
  std::vector<Piece> pieces_;
  std::unordered_map<std::uint64_t, std::size_t> where_;  // index of a piece to its place
  std::uint64_t recordings_ = 0;
  std::uint64_t share_ = kWholeShare;
  std::uint64_t sampled_ = 0;  // since the share was last looked at
  std::uint64_t touched_ = 0;
};

}  // namespace writ::backends::microvm::pages
