#include "index_writer.h"

#include <algorithm>

#include "sha1.h"

namespace writ::workspace {
namespace {

void Put32(std::string& out, std::uint64_t value) {
  for (int shift = 24; shift >= 0; shift -= 8)
    out.push_back(static_cast<char>(value >> shift & 0xff));
}

}  // namespace

std::string FormatIndex(const std::vector<IndexEntry>& entries, uid_t uid, gid_t gid) {
  std::string out = "DIRC";
  out.reserve(32 + entries.size() * 110);
  Put32(out, 2);
  Put32(out, entries.size());
  for (const IndexEntry& entry : entries) {
    std::size_t begin = out.size();
    const InputFile* disk = entry.on_disk;
    Put32(out, disk != nullptr ? disk->ctime_s : 0);
    Put32(out,
          disk != nullptr ? static_cast<std::uint64_t>(disk->stamp.ctime_ns % 1'000'000'000) : 0);
    Put32(out, disk != nullptr ? disk->mtime_s : 0);
    Put32(out,
          disk != nullptr ? static_cast<std::uint64_t>(disk->stamp.mtime_ns % 1'000'000'000) : 0);
    Put32(out, disk != nullptr ? disk->device : 0);
    Put32(out, disk != nullptr ? disk->stamp.inode : 0);
    Put32(out, entry.item->mode);
    Put32(out, disk != nullptr ? uid : 0);
    Put32(out, disk != nullptr ? gid : 0);
    Put32(out, disk != nullptr ? disk->stamp.size : 0);
    out.append(reinterpret_cast<const char*>(entry.item->id.bytes.data()), 20);
    std::size_t length = std::min<std::size_t>(entry.item->path.size(), 0xfff);
    out.push_back(static_cast<char>(length >> 8));
    out.push_back(static_cast<char>(length & 0xff));
    out.append(entry.item->path);
    out.append(8 - (out.size() - begin) % 8, '\0');
  }
  Sha1 hash;
  hash.Update(out);
  ObjectId trailer = hash.Finish();
  out.append(reinterpret_cast<const char*>(trailer.bytes.data()), 20);
  return out;
}

}  // namespace writ::workspace
