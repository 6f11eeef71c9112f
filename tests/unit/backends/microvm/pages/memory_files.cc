#include "memory_files.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>

#include "writ/base/file.h"
#include "writ/base/paths.h"

namespace writ::test {
namespace {

using namespace backends::microvm::pages;

UniqueFd Open(const std::string& path, int flags = O_RDONLY) {
  UniqueFd fd(::open(path.c_str(), flags | O_CLOEXEC, 0600));
  EXPECT_TRUE(fd) << path;
  return fd;
}

void WriteAt(int fd, std::uint64_t page, const std::string& bytes) {
  ASSERT_EQ(::pwrite(fd, bytes.data(), bytes.size(), static_cast<off_t>(page * kPageBytes)),
            static_cast<ssize_t>(bytes.size()));
}

}  // namespace

std::string PageContent(std::uint64_t page, std::uint64_t seed) {
  std::string out = "page " + std::to_string(page) + " of " + std::to_string(seed) + ": ";
  out.resize(kPageBytes, static_cast<char>('a' + (page + seed) % 26));
  return out;
}

MemoryFiles::MemoryFiles(std::uint64_t pages, bool (*hole)(std::uint64_t page), uid_t owner) {
  std::string pattern = "/tmp/writ-pages-XXXXXX";
  if (::mkdtemp(pattern.data()) == nullptr) std::abort();
  folder_ = pattern;
  if (owner != 0 && ::chown(folder_.c_str(), owner, owner) != 0) std::abort();
  UniqueFd file = Open(base(), O_RDWR | O_CREAT);
  expected_.resize(pages * kPageBytes);
  if (::ftruncate(file.get(), static_cast<off_t>(expected_.size())) != 0) std::abort();
  for (std::uint64_t page = 0; page < pages; ++page) {
    if (hole != nullptr && hole(page)) continue;
    const std::string content = PageContent(page);
    WriteAt(file.get(), page, content);
    expected_.replace(page * kPageBytes, kPageBytes, content);
  }
}

MemoryFiles::~MemoryFiles() {
  std::error_code ignored;
  std::filesystem::remove_all(folder_, ignored);
}

void MemoryFiles::AddOverlay(const std::vector<std::uint64_t>& pages,
                             const std::vector<std::uint64_t>& zeroed, std::uint64_t seed) {
  const std::string name = folder_ + "/overlay-" + std::to_string(overlays_.size());
  UniqueFd file = Open(name, O_RDWR | O_CREAT);
  if (::ftruncate(file.get(), static_cast<off_t>(expected_.size())) != 0) std::abort();
  std::string dirty((expected_.size() / kPageBytes + 7) / 8, '\0');
  const auto mark = [&](std::uint64_t page, const std::string& content) {
    dirty[page / 8] = static_cast<char>(dirty[page / 8] | 1 << (page % 8));
    expected_.replace(page * kPageBytes, kPageBytes, content);
  };
  for (const std::uint64_t page : pages) {
    WriteAt(file.get(), page, PageContent(page, seed));
    mark(page, PageContent(page, seed));
  }
  for (const std::uint64_t page : zeroed) mark(page, std::string(kPageBytes, '\0'));
  ASSERT_TRUE(WriteAll(Open(name + ".dirty", O_RDWR | O_CREAT).get(), dirty));
  overlays_.push_back(name);
}

void MemoryFiles::FlipByte(std::uint64_t offset, const std::string& file) const {
  UniqueFd fd = Open(file, O_RDWR);
  char byte = 0;
  ASSERT_EQ(::pread(fd.get(), &byte, 1, static_cast<off_t>(offset)), 1);
  byte = static_cast<char>(byte ^ 1);
  ASSERT_EQ(::pwrite(fd.get(), &byte, 1, static_cast<off_t>(offset)), 1);
}

LayeredMemory MemoryFiles::OpenLayers() const {
  std::vector<LayerFile> layers;
  layers.push_back({Open(base()), UniqueFd()});
  for (const std::string& overlay : overlays_)
    layers.push_back({Open(overlay), Open(overlay + ".dirty")});
  return LayeredMemory::Open(std::move(layers), bytes()).value();
}

void MemoryFiles::Seal() {
  const LeafTable table = DigestMemory(OpenLayers()).value();
  root_ = MemoryRoot(table.memory_bytes, table.leaves);
  auto dir = OpenDirectory(folder_);
  ASSERT_TRUE(dir && WriteFileAtomic(dir->get(), kLeafTableName, EncodeLeafTable(table), 0600));
}

Status MemoryFiles::OpenIn(PageService& service, std::uint64_t id) const {
  WRIT_ASSIGN(UniqueFd directory, OpenDirectory(folder_));
  UniqueFd leaves = Open(folder_ + "/" + kLeafTableName);
  UniqueFd memory = Open(base());
  std::vector<UniqueFd> held;
  SnapshotFiles files{directory.get(), leaves.get(), memory.get(), {}};
  for (const std::string& overlay : overlays_) {
    held.push_back(Open(overlay));
    held.push_back(Open(overlay + ".dirty"));
    files.overlays.push_back({held[held.size() - 2].get(), held.back().get()});
  }
  return service.Open(id, bytes(), root_, files);
}

}  // namespace writ::test
