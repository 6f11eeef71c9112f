// L30, L31: what a snapshot's memory is, as layers and as a digest.
#include "writ/backends/microvm/pages/memory_digest.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <span>

#include "memory_files.h"
#include "writ/backends/microvm/pages/verified_memory.h"

namespace writ::test {
namespace {

using namespace backends::microvm::pages;
using protocol::Digest;
using protocol::Sha256;

std::string Raw(const Digest& digest) {
  return {reinterpret_cast<const char*>(digest.bytes().data()), 32};
}

// RFC 6962 section 2.1 as it is written.
Digest Tree(std::span<const Digest> leaves) {
  if (leaves.size() == 1) return leaves[0];
  std::size_t split = 1;
  while (split * 2 < leaves.size()) split *= 2;
  return Sha256("\x01" + Raw(Tree(leaves.first(split))) + Raw(Tree(leaves.subspan(split))));
}

TEST(MemoryDigest, IsTheTreeThatTheHeaderSays) {
  for (std::uint64_t pages : {1u, 16u, 17u, 48u, 80u, 7u * 16u}) {
    MemoryFiles files(pages);
    const LeafTable table = DigestMemory(files.OpenLayers()).value();
    std::vector<Digest> leaves;
    for (std::size_t at = 0; at < files.bytes(); at += kLeafBytes)
      leaves.push_back(Sha256(std::string(1, '\0') + files.expected().substr(at, kLeafBytes)));
    EXPECT_EQ(table.leaves, leaves);
    std::string size;
    for (int i = 0; i < 8; ++i) size += static_cast<char>(files.bytes() >> (8 * i));
    EXPECT_EQ(MemoryRoot(files.bytes(), leaves), Sha256("\x02" + size + Raw(Tree(leaves))));
  }
}

TEST(MemoryDigest, OfHolesIsThatOfZeros) {
  MemoryFiles sparse(40, [](std::uint64_t page) { return page % 3 == 0 || page >= 16; });
  MemoryFiles full(40, [](std::uint64_t page) { return page % 3 == 0 || page >= 16; });
  UniqueFd fd(::open(full.base().c_str(), O_RDWR | O_CLOEXEC));
  ASSERT_EQ(::pwrite(fd.get(), full.expected().data(), full.bytes(), 0),
            static_cast<ssize_t>(full.bytes()));
  const LeafTable a = DigestMemory(sparse.OpenLayers()).value();
  EXPECT_EQ(a.leaves, DigestMemory(full.OpenLayers()).value().leaves);
  EXPECT_TRUE(sparse.OpenLayers().IsHole(1));
  EXPECT_FALSE(full.OpenLayers().IsHole(1));
}

// L31: dirtiness comes from the bitmap; a page that became zero is zero, hole or not.
TEST(MemoryDigest, TakesEachPageFromTheTopmostLayerThatHasIt) {
  MemoryFiles files(64);
  const LeafTable below = DigestMemory(files.OpenLayers()).value();
  files.AddOverlay({3, 4, 20}, {5}, 1);
  files.AddOverlay({4, 21}, {3}, 2);
  const LayeredMemory layers = files.OpenLayers();
  std::string seen(files.bytes(), 'x');
  for (std::uint64_t leaf = 0; leaf < layers.leaves(); ++leaf)
    ASSERT_TRUE(layers.ReadLeaf(leaf, std::span(seen).subspan(leaf * kLeafBytes, kLeafBytes)));
  EXPECT_TRUE(seen == files.expected());
  EXPECT_EQ(seen[5 * kPageBytes], '\0');
  EXPECT_EQ(seen[3 * kPageBytes], '\0');
  EXPECT_EQ(seen.substr(4 * kPageBytes, 14), PageContent(4, 2).substr(0, 14));
}

TEST(MemoryDigest, OfALayerReadsOnlyWhatTheLayerChanges) {
  MemoryFiles files(64);
  const LeafTable below = DigestMemory(files.OpenLayers()).value();
  files.AddOverlay({17}, {40}, 1);
  const LeafTable whole = DigestMemory(files.OpenLayers()).value();
  EXPECT_EQ(DigestMemory(files.OpenLayers(), &below).value().leaves, whole.leaves);
  // A change below that the layer does not cover is not seen: it was not read.
  files.FlipByte(0, files.base());
  EXPECT_EQ(DigestMemory(files.OpenLayers(), &below).value().leaves, whole.leaves);
}

TEST(LeafTable, IsOnlyTakenWithItsRoot) {
  MemoryFiles files(20);
  const LeafTable table = DigestMemory(files.OpenLayers()).value();
  const Digest root = MemoryRoot(table.memory_bytes, table.leaves);
  const std::string bytes = EncodeLeafTable(table);
  EXPECT_EQ(DecodeLeafTable(bytes, root).value().leaves, table.leaves);
  for (std::size_t at = 0; at < bytes.size(); ++at) {
    std::string bad = bytes;
    bad[at] = static_cast<char>(bad[at] ^ 1);
    ASSERT_FALSE(DecodeLeafTable(bad, root)) << at;
  }
  EXPECT_FALSE(DecodeLeafTable(bytes.substr(0, bytes.size() - 1), root));
  std::string bad = bytes;
  bad.back() = static_cast<char>(bad.back() ^ 1);
  EXPECT_EQ(DecodeLeafTable(bad, root).error().kind, ErrorKind::kIntegrity);
}

// L30: parts that are missing, foreign or open to others are refused.
TEST(LayeredMemory, RefusesFilesThatOthersCanChangeOrThatDoNotFit) {
  MemoryFiles files(16);
  const auto open = [&](std::uint64_t bytes) {
    std::vector<LayerFile> layers;
    layers.push_back({UniqueFd(::open(files.base().c_str(), O_RDONLY | O_CLOEXEC)), UniqueFd()});
    return LayeredMemory::Open(std::move(layers), bytes);
  };
  EXPECT_TRUE(open(16 * kPageBytes));
  EXPECT_EQ(open(15 * kPageBytes).error().code, "pages.memory");
  EXPECT_EQ(open(17 * kPageBytes).error().code, "pages.memory");
  EXPECT_EQ(open(100).error().code, "pages.memory");
  ::chmod(files.base().c_str(), 0640);
  EXPECT_EQ(open(16 * kPageBytes).error().code, "pages.owner");
  EXPECT_FALSE(LayeredMemory::Open({}, 4096));
}

// L30: a hole that was punched into verified memory is no zeros.
TEST(VerifiedMemory, FindsAFlippedByteAndAPunchedHole) {
  MemoryFiles files(64);
  files.Seal();
  const LeafTable table = DigestMemory(files.OpenLayers()).value();
  files.FlipByte(17 * kPageBytes + 5, files.base());
  UniqueFd fd(::open(files.base().c_str(), O_RDWR | O_CLOEXEC));
  ASSERT_EQ(
      ::fallocate(fd.get(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 2 * kLeafBytes, kLeafBytes),
      0);
  auto memory = VerifiedMemory::Make(files.OpenLayers(), table).value();
  EXPECT_TRUE(memory->Verify(15));
  EXPECT_EQ(memory->Verify(16).error().kind, ErrorKind::kIntegrity);
  EXPECT_EQ(memory->Verify(31).error().kind, ErrorKind::kIntegrity);
  ASSERT_TRUE(memory->memory().IsHole(2));
  EXPECT_EQ(memory->Verify(2 * 16).error().kind, ErrorKind::kIntegrity);
  EXPECT_TRUE(memory->Verify(3 * 16));
  EXPECT_TRUE(memory->Verify(3 * 16 + 1));
  EXPECT_EQ(memory->hashed_leaves(), 3u);  // the hole was not read, and each leaf once
}

TEST(VerifiedMemory, KnowsZeroPagesThatAreNoHoles) {
  MemoryFiles files(16);
  UniqueFd fd(::open(files.base().c_str(), O_RDWR | O_CLOEXEC));
  const std::string zeros(kPageBytes, '\0');
  ASSERT_EQ(::pwrite(fd.get(), zeros.data(), zeros.size(), 7 * kPageBytes), 4096);
  auto memory =
      VerifiedMemory::Make(files.OpenLayers(), DigestMemory(files.OpenLayers()).value()).value();
  ASSERT_TRUE(memory->Verify(0));
  EXPECT_TRUE(memory->memory().IsZero(7));
  EXPECT_FALSE(memory->memory().IsZero(8));
}

}  // namespace
}  // namespace writ::test
