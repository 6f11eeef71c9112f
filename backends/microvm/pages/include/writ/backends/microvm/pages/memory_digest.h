// The digest of a snapshot's memory: 64 KiB leaves under one root.
//
//   leaf i   SHA-256(0x00 || bytes of memory from i * 65536 on; the last leaf may be short)
//   node     SHA-256(0x01 || left || right), in the shape of RFC 6962 section 2.1
//   root     SHA-256(0x02 || size of the memory in bytes, 8 bytes little-endian || top node)
// The memory is what a guest sees, however many layers it lies in: holes and pages of overlays are
// bytes like all others. A snapshot's manifest holds the root; the leaf table lies beside the
// memory file (kLeafTableName) and is trusted only because the root comes out of it.
//   table    "writlf1\n" || size of the memory, 8 bytes little-endian || leaves, 32 bytes each
// SHA-256 is the one of protocol/digest.h (SHA-NI where there is any).
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "writ/backends/microvm/pages/layered_memory.h"
#include "writ/base/result.h"
#include "writ/protocol/digest.h"

namespace writ::backends::microvm::pages {

inline constexpr char kLeafTableName[] = "memory.leaves";
inline constexpr std::uint64_t kMaxLeafTableBytes = 64ull << 20;

struct LeafTable {
  std::uint64_t memory_bytes = 0;
  std::vector<protocol::Digest> leaves;
};

protocol::Digest LeafDigest(std::string_view bytes);
protocol::Digest ZeroLeafDigest(std::uint64_t bytes);
// Of at least one leaf.
protocol::Digest MemoryRoot(std::uint64_t memory_bytes, std::span<const protocol::Digest> leaves);

// Reads the memory once; holes cost nothing. With the verified table of the snapshot below, only
// leaves that the top overlay changes are read.
Result<LeafTable> DigestMemory(const LayeredMemory& memory, const LeafTable* below = nullptr);

std::string EncodeLeafTable(const LeafTable& table);
// kInvalid "pages.leaf_table"; kIntegrity "pages.leaf_table" where the root is another one.
Result<LeafTable> DecodeLeafTable(std::string_view bytes, const protocol::Digest& root);

}  // namespace writ::backends::microvm::pages
