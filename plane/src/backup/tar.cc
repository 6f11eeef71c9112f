#include "backup/tar.h"

#include <cstdio>

namespace writ::plane {
namespace {

constexpr std::size_t kBlock = 512;
constexpr std::uint64_t kOctalLimit = 1ull << 33;
constexpr char kZeros[2 * kBlock] = {};

struct Field {
  std::size_t at, size;
};
constexpr Field kName{0, 100}, kMode{100, 8}, kUid{108, 8}, kGid{116, 8}, kSize{124, 12},
    kTime{136, 12}, kSum{148, 8};
constexpr std::size_t kType = 156, kMagic = 257;

void PutOctal(std::string& block, Field field, std::uint64_t value) {
  for (std::size_t i = field.size - 1; i-- > 0;) {
    block[field.at + i] = static_cast<char>('0' + (value & 7));
    value >>= 3;
  }
}

std::uint64_t Sum(std::string_view block) {
  std::uint64_t sum = 0;
  for (std::size_t i = 0; i < kBlock; ++i) {
    const bool own = i >= kSum.at && i < kSum.at + kSum.size;
    sum += own ? ' ' : static_cast<unsigned char>(block[i]);
  }
  return sum;
}

std::optional<std::uint64_t> Octal(std::string_view block, Field field) {
  std::uint64_t value = 0;
  for (std::size_t i = 0; i + 1 < field.size; ++i) {
    const char c = block[field.at + i];
    if (c < '0' || c > '7') return std::nullopt;
    value = value << 3 | static_cast<std::uint64_t>(c - '0');
  }
  return value;
}

Error NotOurs(const char* what) {
  return Error{.kind = ErrorKind::kInvalid,
               .code = "backup.format",
               .message = std::string("the file is no backup of a plane: ") + what,
               .hint = "name a file that `writ backup` made"};
}

}  // namespace

std::string TarHeader(const TarEntry& entry) {
  std::string block(kBlock, '\0');
  block.replace(kName.at, entry.name.size(), entry.name);
  PutOctal(block, kMode, 0600);
  PutOctal(block, kUid, 0);
  PutOctal(block, kGid, 0);
  if (entry.bytes < kOctalLimit) {
    PutOctal(block, kSize, entry.bytes);
  } else {
    std::uint64_t left = entry.bytes;
    for (std::size_t i = kSize.size; i-- > 1; left >>= 8)
      block[kSize.at + i] = static_cast<char>(left & 0xff);
    block[kSize.at] = static_cast<char>(0x80);
  }
  PutOctal(block, kTime, static_cast<std::uint64_t>(entry.modified < 0 ? 0 : entry.modified));
  block[kType] = '0';
  block.replace(kMagic, 8,
                std::string("ustar\0"
                            "00",
                            8));
  char sum[8];
  std::snprintf(sum, sizeof sum, "%06o", static_cast<unsigned>(Sum(block)));
  block.replace(kSum.at, 7, sum, 7);
  block[kSum.at + 7] = ' ';
  return block;
}

std::string_view TarPadding(std::uint64_t bytes) {
  return {kZeros, static_cast<std::size_t>((kBlock - bytes % kBlock) % kBlock)};
}

std::string_view TarEnd() {
  return {kZeros, sizeof kZeros};
}

Result<std::optional<TarEntry>> ParseTarHeader(std::string_view block) {
  if (block.size() != kBlock) return NotOurs("it ends within a header");
  if (block.find_first_not_of('\0') == std::string_view::npos) return std::optional<TarEntry>();
  TarEntry out;
  const std::string_view name = block.substr(kName.at, kName.size);
  out.name = std::string(name.substr(0, std::min(name.find('\0'), name.size())));
  if (static_cast<unsigned char>(block[kSize.at]) == 0x80) {
    for (std::size_t i = 1; i < kSize.size; ++i) {
      if (out.bytes >> 55 != 0) return NotOurs("a size is too large");
      out.bytes = out.bytes << 8 | static_cast<unsigned char>(block[kSize.at + i]);
    }
  } else {
    auto bytes = Octal(block, kSize);
    if (!bytes) return NotOurs("a size is none");
    out.bytes = *bytes;
  }
  auto modified = Octal(block, kTime);
  if (!modified) return NotOurs("a time is none");
  out.modified = static_cast<std::int64_t>(*modified);
  // Whatever else could be said in a header - links, owners, devices - is not said by us.
  if (TarHeader(out) != block) return NotOurs("a header is not as they are written");
  return std::optional(std::move(out));
}

}  // namespace writ::plane
