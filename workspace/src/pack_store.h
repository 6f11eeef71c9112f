// PackStore: one git pack with its index (version 2), mapped into memory and read by any number of
// threads at once.
//
// The pack came through ObjectCache, which had it indexed by libgit2 - so every object was once
// inflated, resolved and hashed. Still nothing here trusts its bytes: every offset is checked and
// every object that is read is hashed again, so a cache damaged later is found out, not used.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

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
  // For a pack and index held elsewhere (fuzzing); the views outlive the store.
  static Result<std::shared_ptr<PackStore>> FromBytes(std::string_view pack,
                                                      std::string_view index);

  Result<GitObject> Read(const ObjectId& id) const override;
  bool Has(const ObjectId& id) const override { return Find(id) >= 0; }
  std::size_t AbbreviationOf(const ObjectId& id) const override;
  std::uint32_t object_count() const { return count_; }

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

  MappedFile pack_file_, index_file_;
  std::string_view pack_, index_;
  std::uint32_t count_ = 0;
};

}  // namespace writ::workspace
