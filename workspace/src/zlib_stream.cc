#include "zlib_stream.h"

#define ZLIB_CONST
#include <zlib.h>

#include <algorithm>
#include <climits>

namespace writ::workspace {
namespace {

Error Damaged() {
  return Error{.kind = ErrorKind::kInvalid,
               .code = "zlib.damaged",
               .message = "compressed bytes are damaged or not of the stated size"};
}

const Bytef* AsBytes(const char* p) {
  return reinterpret_cast<const Bytef*>(p);
}

std::string Deflate(std::string_view bytes, int level) {
  std::string out(::compressBound(static_cast<uLong>(bytes.size())), '\0');
  auto size = static_cast<uLongf>(out.size());
  if (::compress2(reinterpret_cast<Bytef*>(out.data()), &size, AsBytes(bytes.data()),
                  static_cast<uLong>(bytes.size()), level) != Z_OK)
    std::abort();  // only for want of memory or room, and there is room
  out.resize(size);
  return out;
}

}  // namespace

Result<std::string> Inflate(std::string_view deflated, std::uint64_t size) {
  z_stream stream{};
  if (::inflateInit(&stream) != Z_OK) return Damaged();
  std::string out;
  int rc = Z_OK;
  std::size_t in_pos = 0;
  char extra = 0;
  // Room grows with what really comes out: a stated size alone allocates nothing.
  std::uint64_t room =
      std::min<std::uint64_t>(size, std::max<std::uint64_t>(65536, deflated.size() * 8));
  out.resize(room);
  std::uint64_t done = 0;
  while (rc == Z_OK) {
    if (stream.avail_in == 0) {
      stream.next_in = AsBytes(deflated.data() + in_pos);
      stream.avail_in = static_cast<uInt>(std::min<std::size_t>(deflated.size() - in_pos, INT_MAX));
      in_pos += stream.avail_in;
    }
    if (done == out.size() && done < size) out.resize(std::min<std::uint64_t>(size, done * 2));
    bool full = done == size;
    std::uint64_t space = full ? 1 : std::min<std::uint64_t>(out.size() - done, INT_MAX);
    stream.next_out = reinterpret_cast<Bytef*>(full ? &extra : out.data() + done);
    stream.avail_out = static_cast<uInt>(space);
    rc = ::inflate(&stream, Z_NO_FLUSH);
    std::uint64_t got = space - stream.avail_out;
    if (full && got != 0) rc = Z_DATA_ERROR;
    done += full ? 0 : got;
  }
  bool whole =
      rc == Z_STREAM_END && done == size && stream.avail_in == 0 && in_pos == deflated.size();
  ::inflateEnd(&stream);
  if (!whole) return Damaged();
  out.resize(size);
  return out;
}

std::string DeflateFast(std::string_view bytes) {
  return Deflate(bytes, Z_BEST_SPEED);
}
std::string DeflatePack(std::string_view bytes) {
  return Deflate(bytes, Z_DEFAULT_COMPRESSION);
}

}  // namespace writ::workspace
