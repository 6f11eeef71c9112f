// A git bundle from its first byte to the objects in its pack: header, libgit2's indexer as the
// object cache drives it, our pack reader, and a whole materialization.
#include <fcntl.h>
#include <unistd.h>

#include <cstdlib>
#include <string>

#include "writ/base/file.h"
#include "writ/base/log.h"
#include "writ/base/paths.h"
#include "writ/base/unique_fd.h"
#include "writ/workspace/bundle.h"
#include "writ/workspace/collect.h"
#include "writ/workspace/materialize.h"

namespace {

using namespace writ;             // NOLINT: a program of its own
using namespace writ::workspace;  // NOLINT

// One scratch folder for the process, emptied for each input.
struct Scratch {
  Scratch() {
    log::Configure(log::Level::kOff, log::Format::kText);
    std::string pattern = "/tmp/writ-fuzz-XXXXXX";
    if (::mkdtemp(pattern.data()) == nullptr) std::abort();
    path = pattern;
  }
  ~Scratch() {
    auto parent = OpenDirectory("/tmp");
    if (parent) (void)RemoveTreeBeneath(parent->get(), path.substr(5));
  }
  std::string path;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  std::string_view bytes(reinterpret_cast<const char*>(data), size);
  auto header = ParseBundleHeader(bytes);
  if (!header) return 0;
  if (ParseBundleHeader(FormatBundleHeader(*header) + "PACK")->refs.size() != header->refs.size())
    std::abort();
  static Scratch scratch;
  auto place = OpenDirectory(scratch.path);
  for (const char* name : {"cache", "tree", "trusted"}) (void)RemoveTreeBeneath(place->get(), name);
  auto cache = ObjectCache::Open(scratch.path + "/cache");
  auto tree = MakeDirectories(scratch.path + "/tree", 0700);
  auto trusted = MakeDirectories(scratch.path + "/trusted", 0700);
  if (!cache || !tree || !trusted) std::abort();
  protocol::Manifest manifest;
  manifest.base_ref = *protocol::CommitId::Parse(header->refs.front().id.Hex());
  manifest.bundle_hash = protocol::Sha256(bytes);
  MaterializeOptions options{
      .manifest = &manifest,
      .blobs = [&](const protocol::Digest&) { return MakeSealedMemfd("bundle", bytes); },
      .cache = cache->get(),
      .target = tree->get(),
      .trusted = trusted->get(),
      .limits = {.max_files = 1000, .max_tree_bytes = 1 << 22, .max_file_bytes = 1 << 20},
      .threads = 1};
  auto materialized = Materialize(options);
  if (!materialized) return 0;
  // What was just written is what is found.
  auto collected = Collect({.materialized = &*materialized, .tree = tree->get()});
  if (collected && !collected->delta.empty()) std::abort();
  return 0;
}
