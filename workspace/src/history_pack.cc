#include "history_pack.h"

#include <dirent.h>

#include <algorithm>
#include <cstring>
#include <memory>
#include <unordered_set>
#include <vector>

#include "pack_store.h"
#include "sha1.h"
#include "zlib_stream.h"

namespace writ::workspace {
namespace {

struct IdHash {
  std::size_t operator()(const ObjectId& id) const {
    std::size_t value;
    std::memcpy(&value, id.bytes.data(), sizeof value);
    return value;
  }
};

Error Incomplete(Error error) {
  if (error.code != "workspace.history_incomplete") {
    error.kind = ErrorKind::kInvalid;
    error.code = "workspace.history_incomplete";
    error.hint = "run `git fsck` in the repository";
  }
  return error;
}

class Packer {
 public:
  Packer(const RepositoryFiles& repository, const OdbSource& objects,
         const std::function<Status(std::string_view)>& sink, const CaptureProgress& progress)
      : objects_(objects), sink_(sink), progress_(progress) {
    OpenPacks(repository.common_dir + "/objects/pack");
  }

  Result<std::size_t> Run(const ObjectId& head) {
    if (Status walked = WalkCommits(head); !walked) return Incomplete(std::move(walked).error());
    std::size_t commits = order_.size();
    for (std::size_t i = 0; i < commits; ++i) {
      if (Status walked = WalkTree(trees_[i]); !walked)
        return Incomplete(std::move(walked).error());
      if (progress_ && i % 256 == 0) progress_("collecting objects", i, commits);
    }
    std::string header("PACK\0\0\0\2", 8);
    for (int shift = 24; shift >= 0; shift -= 8)
      header.push_back(static_cast<char>(order_.size() >> shift & 0xff));
    WRIT_TRY(Put(header));
    for (std::size_t i = 0; i < order_.size(); ++i) {
      WRIT_TRY(WriteObject(order_[i]));
      if (progress_ && i % 4096 == 0) progress_("packing objects", i, order_.size());
    }
    ObjectId trailer = hash_.Finish();
    WRIT_TRY(sink_({reinterpret_cast<const char*>(trailer.bytes.data()), 20}));
    return commits;
  }

 private:
  // Packs that cannot be read so (an old index, damage) are left to libgit2, object by object.
  void OpenPacks(const std::string& folder) {
    DIR* stream = ::opendir(folder.c_str());
    if (stream == nullptr) return;
    std::vector<std::string> names;
    while (dirent* entry = ::readdir(stream)) {
      std::string name = entry->d_name;
      if (name.ends_with(".idx")) names.push_back(name.substr(0, name.size() - 4));
    }
    ::closedir(stream);
    // Always the same order: a delta and its base come from the same pack or an earlier one, so
    // what is copied has no circles.
    std::sort(names.begin(), names.end());
    for (const std::string& name : names)
      if (auto pack = PackStore::OpenPack(folder, name)) packs_.push_back(std::move(*pack));
  }

  Result<std::string> ReadAs(const ObjectId& id, ObjectType type) const {
    for (const auto& pack : packs_)
      if (pack->Has(id)) return ReadTyped(*pack, id, type);
    return ReadTyped(objects_, id, type);
  }

  Status WalkCommits(const ObjectId& head) {
    std::vector<ObjectId> todo{head};
    reached_.insert(head);
    while (!todo.empty()) {
      ObjectId id = todo.back();
      todo.pop_back();
      WRIT_ASSIGN(std::string content, ReadAs(id, ObjectType::kCommit));
      WRIT_ASSIGN(CommitInfo info, ParseCommit(content));
      order_.push_back(id);
      trees_.push_back(info.tree);
      for (auto parent = info.parents.rbegin(); parent != info.parents.rend(); ++parent)
        if (reached_.insert(*parent).second) todo.push_back(*parent);
    }
    return {};
  }

  Status WalkTree(const ObjectId& root) {
    std::vector<ObjectId> todo;
    if (reached_.insert(root).second) todo.push_back(root);
    while (!todo.empty()) {
      ObjectId id = todo.back();
      todo.pop_back();
      order_.push_back(id);
      WRIT_ASSIGN(std::string content, ReadAs(id, ObjectType::kTree));
      std::string_view bytes = content;
      while (!bytes.empty()) {
        std::size_t nul = bytes.find('\0');
        if (nul == std::string_view::npos || bytes.size() - nul < 21)
          return Error{.kind = ErrorKind::kInvalid,
                       .code = "workspace.object_malformed",
                       .message = "the tree " + id.Hex() + " is damaged"};
        ObjectId entry;
        std::memcpy(entry.bytes.data(), bytes.data() + nul + 1, 20);
        bool tree = bytes.starts_with("40000 ") || bytes.starts_with("040000 ");
        bool gitlink = bytes.starts_with("160000 ");
        bytes.remove_prefix(nul + 21);
        if (gitlink || !reached_.insert(entry).second) continue;
        if (tree) {
          todo.push_back(entry);
        } else {
          order_.push_back(entry);
        }
      }
    }
    return {};
  }

  Status Put(std::string_view bytes) {
    hash_.Update(bytes);
    return sink_(bytes);
  }

  static std::string EntryHeader(int type, std::uint64_t size) {
    std::string out;
    auto c = static_cast<unsigned>(type) << 4 | static_cast<unsigned>(size & 0x0f);
    size >>= 4;
    while (size != 0) {
      out.push_back(static_cast<char>(c | 0x80));
      c = static_cast<unsigned>(size & 0x7f);
      size >>= 7;
    }
    out.push_back(static_cast<char>(c));
    return out;
  }

  Status WriteObject(const ObjectId& id) {
    for (const auto& pack : packs_) {
      auto found = pack->FindRaw(id);
      if (!found) return Incomplete(std::move(found).error());
      if (!*found) continue;
      const PackStore::RawEntry& raw = **found;
      if (raw.type == 7 && !reached_.contains(raw.base)) break;  // whole instead
      std::string header = EntryHeader(raw.type, raw.size);
      if (raw.type == 7) header.append(reinterpret_cast<const char*>(raw.base.bytes.data()), 20);
      WRIT_TRY(Put(header));
      return Put(raw.deflated);
    }
    auto object = objects_.Read(id);
    if (!object) return Incomplete(std::move(object).error());
    WRIT_TRY(Put(EntryHeader(static_cast<int>(object->type) + 1, object->content.size())));
    return Put(DeflatePack(object->content));
  }

  const OdbSource& objects_;
  const std::function<Status(std::string_view)>& sink_;
  const CaptureProgress& progress_;
  std::vector<std::shared_ptr<PackStore>> packs_;
  std::unordered_set<ObjectId, IdHash> reached_;
  std::vector<ObjectId> order_;  // commits first
  std::vector<ObjectId> trees_;  // of the commits, in their order
  Sha1 hash_;
};

}  // namespace

Result<std::size_t> WriteHistoryPack(const RepositoryFiles& repository, const OdbSource& objects,
                                     const std::function<Status(std::string_view)>& sink,
                                     const CaptureProgress& progress) {
  return Packer(repository, objects, sink, progress).Run(repository.head);
}

}  // namespace writ::workspace
