// PackStore: one git pack with its index (version 2), mapped into memory and read by any number of
// threads at once.
//
// The pack came through ObjectCache, which had it indexed by libgit2 - so every object was once
// inflated, resolved and hashed. Still nothing here trusts its bytes: every offset is checked and
// every object that is read is hashed again, so a cache damaged later is found out, not used.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "git_object.h"
#include "writ/base/result.h"

namespace writ::workspace {

class MappedFile {
 public:
  static Result<MappedFile> Open(int dir, const std::string& name);
  MappedFile() = default;
  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&& other) noexcept;
  ~MappedFile();
  std::string_view bytes() const { return {data_, size_}; }

 private:
  const char* data_ = nullptr;
  std::size_t size_ = 0;
};

class PackStore final : public ObjectSource {
 public:
  // The one pack in `<objects_directory>/pack`. kIntegrity "cache.damaged" where it is not whole.
  static Result<std::shared_ptr<PackStore>> Open(const std::string& objects_directory);
  // `<folder>/<name>.pack` and its index.
  static Result<std::shared_ptr<PackStore>> OpenPack(const std::string& folder,
                                                     const std::string& name);
  // For a pack and index held elsewhere (fuzzing); the views outlive the store.
  static Result<std::shared_ptr<PackStore>> FromBytes(std::string_view pack,
                                                      std::string_view index);

  Result<GitObject> Read(const ObjectId& id) const override;
  bool Has(const ObjectId& id) const override { return Find(id) >= 0; }
  std::size_t AbbreviationOf(const ObjectId& id) const override;
  std::uint32_t object_count() const { return count_; }

  // An object as it lies in the pack, for copying it into another one without inflating it.
  struct RawEntry {
    int type = 0;            // 1-4 whole objects, 7 a delta on `base`
    std::uint64_t size = 0;  // inflated
    ObjectId base{};
    std::string_view deflated{};
  };
  // nullopt where it is not here. kIntegrity where the entry is not the one that was indexed.
  Result<std::optional<RawEntry>> FindRaw(const ObjectId& id) const;

 private:
  struct EntryHead {
    int type = 0;  // as in the pack: 1-4 whole objects, 6 offset delta, 7 reference delta
    std::uint64_t size = 0;
    std::uint64_t data = 0;  // where the deflated bytes start
    std::uint64_t base = 0;  // offset of the delta's base
  };

  Status CheckShape();
  std::int64_t Find(const ObjectId& id) const;  // position in the index, or -1
  std::uint32_t LowerBound(const ObjectId& id) const;
  std::string_view IdAt(std::uint32_t position) const;
  bool OffsetAt(std::uint32_t position, std::uint64_t& offset) const;
  bool ReadHead(std::uint64_t offset, EntryHead& head) const;
  Result<std::string> InflateAt(const EntryHead& head) const;
  Result<GitObject> ReadAt(std::uint64_t offset) const;

  void SortOffsets() const;

  // Entries by where they start, for FindRaw: made at its first call. Guarded by the flag.
  mutable std::once_flag sorted_;
  mutable std::vector<std::pair<std::uint64_t, std::uint32_t>> by_offset_;
  MappedFile pack_file_, index_file_;
  std::string_view pack_, index_;
  std::uint32_t count_ = 0;
};

}  // namespace writ::workspace
