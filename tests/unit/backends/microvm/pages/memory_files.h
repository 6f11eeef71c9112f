// A snapshot's memory as files of a test, in a folder that goes with it.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "writ/backends/microvm/pages/memory_digest.h"
#include "writ/backends/microvm/pages/page_service.h"
#include "writ/base/unique_fd.h"

namespace writ::test {

// Every page a different text: what page `page` of content number `seed` is.
std::string PageContent(std::uint64_t page, std::uint64_t seed = 0);

class MemoryFiles {
 public:
  // A folder of `owner`'s, and a base of `pages` pages in which each page that `hole` names is one.
  explicit MemoryFiles(std::uint64_t pages, bool (*hole)(std::uint64_t page) = nullptr,
                       uid_t owner = 0);
  ~MemoryFiles();
  MemoryFiles(const MemoryFiles&) = delete;
  MemoryFiles& operator=(const MemoryFiles&) = delete;

  const std::string& folder() const { return folder_; }
  std::string base() const { return folder_ + "/memory"; }
  std::uint64_t bytes() const { return expected_.size(); }
  const std::string& expected() const { return expected_; }  // what a guest is to see

  // A layer on top: these pages are `seed`'s, and those become zero (holes that are dirty).
  void AddOverlay(const std::vector<std::uint64_t>& pages, const std::vector<std::uint64_t>& zeroed,
                  std::uint64_t seed);
  // Changes one byte of a layer's file; the digest stays.
  void FlipByte(std::uint64_t offset, const std::string& file) const;

  backends::microvm::pages::LayeredMemory OpenLayers() const;
  // Digests the memory as it is and writes the leaf table.
  void Seal();
  const protocol::Digest& root() const { return root_; }
  Status OpenIn(backends::microvm::pages::PageService& service, std::uint64_t id) const;

 private:
  std::string folder_;
  std::string expected_;
  std::vector<std::string> overlays_;
  protocol::Digest root_;
};

}  // namespace writ::test
