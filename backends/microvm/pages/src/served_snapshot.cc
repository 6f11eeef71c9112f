#include "served_snapshot.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

#include "writ/base/file.h"
#include "writ/base/log.h"

namespace writ::backends::microvm::pages {
namespace {

constexpr std::size_t kDirectory = 0;
constexpr std::size_t kLeaves = 1;
constexpr std::size_t kBase = 2;

Result<std::vector<LayerFile>> LayersOf(std::vector<UniqueFd>& fds) {
  if (fds.size() <= kBase || (fds.size() - kBase) % 2 != 1)
    return Error{ErrorKind::kInvalid, "pages.word", "a snapshot lacks some of its files"};
  std::vector<LayerFile> layers;
  layers.push_back({std::move(fds[kBase]), UniqueFd()});
  for (std::size_t i = kBase + 1; i < fds.size(); i += 2)
    layers.push_back({std::move(fds[i]), std::move(fds[i + 1])});
  return layers;
}

}  // namespace

Result<std::shared_ptr<ServedSnapshot>> ServedSnapshot::Open(const OpenSnapshot& open,
                                                             std::vector<UniqueFd> fds) {
  WRIT_ASSIGN(std::vector<LayerFile> layers, LayersOf(fds));
  if (::lseek(fds[kLeaves].get(), 0, SEEK_SET) < 0)
    return SysError(errno, "pages.leaf_table", "cannot read a snapshot's leaf table");
  WRIT_ASSIGN(const std::string bytes, ReadAll(fds[kLeaves].get(), kMaxLeafTableBytes));
  WRIT_ASSIGN(LeafTable table, DecodeLeafTable(bytes, open.root));
  WRIT_ASSIGN(LayeredMemory layered, LayeredMemory::Open(std::move(layers), open.memory_bytes));
  WRIT_ASSIGN(auto memory, VerifiedMemory::Make(std::move(layered), std::move(table)));
  auto out = std::shared_ptr<ServedSnapshot>(
      new ServedSnapshot(std::move(fds[kDirectory]), open.root, std::move(memory)));
  out->Load();
  return out;
}

ServedSnapshot::ServedSnapshot(UniqueFd directory, protocol::Digest root,
                               std::unique_ptr<VerifiedMemory> memory)
    : directory_(std::move(directory)), root_(root), memory_(std::move(memory)) {}

void ServedSnapshot::Load() {
  UniqueFd file(
      ::openat(directory_.get(), kWorkingSetName, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC));
  if (!file) return;
  auto bytes = ReadAll(file.get(), kMaxWorkingSetBytes);
  auto set = bytes ? WorkingSet::Decode(*bytes, root_, memory_->memory().memory_bytes())
                   : std::move(bytes).error();
  if (set)
    set_ = std::move(set).value();
  else
    log::Warn("pages.working_set", "a working set is left aside and recorded anew",
              {{"why", set.error().ToString()}});
}

RestorePlan ServedSnapshot::Plan() const {
  std::lock_guard lock(mutex_);
  const auto pieces = set_.Prefetched();
  return {{pieces.begin(), pieces.end()}, set_.WantsRecording()};
}

void ServedSnapshot::Observed(const Observation& observation) {
  std::string bytes;
  {
    std::lock_guard lock(mutex_);
    bool changed = set_.Adapt(observation.sampled, observation.touched);
    // Of clones that were restored at once the first ones to be done count.
    if (observation.recorded && !observation.pages.empty() && set_.WantsRecording()) {
      set_.AddRecording(observation.pages);
      changed = true;
    }
    if (!changed) return;
    bytes = set_.Encode(root_, memory_->memory().memory_bytes());
  }
  if (auto stored = WriteFileAtomic(directory_.get(), kWorkingSetName, bytes, 0600); !stored)
    log::Warn("pages.working_set", "a working set is kept in memory only",
              {{"why", stored.error().ToString()}});
}

}  // namespace writ::backends::microvm::pages
