#include "writ/backends/microvm/pages/memory_digest.h"

#include <array>
#include <cstring>
#include <utility>

namespace writ::backends::microvm::pages {
namespace {

using protocol::Digest;
using protocol::Sha256Hasher;

constexpr std::string_view kMagic = "writlf1\n";
constexpr std::size_t kHeadBytes = 16;
constexpr std::size_t kDigestBytes = 32;

std::string_view Bytes(const Digest& digest) {
  return {reinterpret_cast<const char*>(digest.bytes().data()), kDigestBytes};
}

std::string LittleEndian(std::uint64_t value) {
  std::string out;
  for (int i = 0; i < 8; ++i) out.push_back(static_cast<char>(value >> (8 * i)));
  return out;
}

Digest Node(const Digest& left, const Digest& right) {
  Sha256Hasher hasher;
  hasher.Update(std::string_view("\x01", 1));
  hasher.Update(Bytes(left));
  hasher.Update(Bytes(right));
  return hasher.Finish();
}

}  // namespace

Digest LeafDigest(std::string_view bytes) {
  Sha256Hasher hasher;
  hasher.Update(std::string_view("\0", 1));
  hasher.Update(bytes);
  return hasher.Finish();
}

Digest ZeroLeafDigest(std::uint64_t bytes) {
  static const std::string zeros(kLeafBytes, '\0');
  static const Digest whole = LeafDigest(zeros);
  if (bytes == kLeafBytes) return whole;
  return LeafDigest(std::string_view(zeros).substr(0, bytes));
}

Digest MemoryRoot(std::uint64_t memory_bytes, std::span<const Digest> leaves) {
  // Whole trees so far, each smaller than the one before it.
  std::vector<std::pair<Digest, std::uint64_t>> trees;
  const auto join = [&trees] {
    auto right = trees.back();
    trees.pop_back();
    trees.back() = {Node(trees.back().first, right.first), trees.back().second + right.second};
  };
  for (const Digest& leaf : leaves) {
    trees.emplace_back(leaf, 1);
    while (trees.size() > 1 && trees[trees.size() - 2].second == trees.back().second) join();
  }
  while (trees.size() > 1) join();
  Sha256Hasher hasher;
  hasher.Update(std::string_view("\x02", 1));
  hasher.Update(LittleEndian(memory_bytes));
  hasher.Update(Bytes(trees.front().first));
  return hasher.Finish();
}

Result<LeafTable> DigestMemory(const LayeredMemory& memory, const LeafTable* below) {
  if (below != nullptr && below->memory_bytes != memory.memory_bytes())
    return Error{ErrorKind::kInvalid, "pages.leaf_table",
                 "the leaf table of the snapshot below is of another size"};
  LeafTable table;
  table.memory_bytes = memory.memory_bytes();
  table.leaves.reserve(memory.leaves());
  std::string buffer(kLeafBytes, '\0');
  for (std::uint64_t leaf = 0; leaf < memory.leaves(); ++leaf) {
    const std::uint64_t size = memory.LeafSize(leaf);
    if (below != nullptr && !memory.InTopLayer(leaf)) {
      table.leaves.push_back(below->leaves[leaf]);
    } else if (memory.IsHole(leaf)) {
      table.leaves.push_back(ZeroLeafDigest(size));
    } else {
      WRIT_TRY(memory.ReadLeaf(leaf, std::span(buffer).first(size)));
      table.leaves.push_back(LeafDigest(std::string_view(buffer).substr(0, size)));
    }
  }
  return table;
}

std::string EncodeLeafTable(const LeafTable& table) {
  std::string out(kMagic);
  out += LittleEndian(table.memory_bytes);
  for (const Digest& leaf : table.leaves) out += Bytes(leaf);
  return out;
}

Result<LeafTable> DecodeLeafTable(std::string_view bytes, const Digest& root) {
  const Error malformed{ErrorKind::kInvalid, "pages.leaf_table",
                        "a snapshot's leaf table is not one"};
  if (!bytes.starts_with(kMagic) || bytes.size() < kHeadBytes) return malformed;
  LeafTable table;
  for (std::size_t i = 8; i-- > 0;)
    table.memory_bytes =
        table.memory_bytes << 8 | static_cast<unsigned char>(bytes[kMagic.size() + i]);
  bytes.remove_prefix(kHeadBytes);
  if (table.memory_bytes == 0 || table.memory_bytes > kMaxMemoryBytes ||
      table.memory_bytes % kPageBytes != 0 ||
      bytes.size() != (table.memory_bytes + kLeafBytes - 1) / kLeafBytes * kDigestBytes)
    return malformed;
  for (; !bytes.empty(); bytes.remove_prefix(kDigestBytes)) {
    std::array<std::uint8_t, kDigestBytes> digest{};
    std::memcpy(digest.data(), bytes.data(), kDigestBytes);
    table.leaves.emplace_back(digest);
  }
  if (MemoryRoot(table.memory_bytes, table.leaves) != root)
    return Error{ErrorKind::kIntegrity, "pages.leaf_table",
                 "a snapshot's leaf table does not give the root of its manifest"};
  return table;
}

}  // namespace writ::backends::microvm::pages
