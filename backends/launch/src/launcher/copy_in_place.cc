#include "copy_in_place.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <string>

#include "writ/base/file.h"
#include "writ/base/paths.h"
#include "writ/base/tree_stream.h"
#include "writ/base/unique_fd.h"

namespace writ::backends::launch {
namespace {

Status Send(const EntryRequest& request, int root) {
  const std::string path = request.path.substr(1);
  const std::string name = path.substr(path.rfind('/') + 1);
  auto sent = SendTree(root, path, name, request.limits,
                       [](std::string_view bytes) { return WriteAll(1, bytes); });
  return sent ? Status() : Status(std::move(sent).error());
}

Status Receive(const EntryRequest& request, int root) {
  TreeMaker maker(root, request.path.substr(1), "/");
  TreeReader reader(request.limits, &maker);
  std::string piece(kMaxPiece, '\0');
  while (!reader.ended()) {
    const ssize_t n = ::read(0, piece.data(), piece.size());
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return Error{ErrorKind::kUnavailable, "copy.cut_short", "the copy was cut short"};
    WRIT_TRY(reader.Write(std::string_view(piece).substr(0, static_cast<std::size_t>(n))));
  }
  return {};
}

}  // namespace

int CopyInPlace(const EntryRequest& request) {
  if (request.kind == EntryRequest::Kind::kCheckpoint) return 1;  // a machine's agent's to answer
  const UniqueFd root(::open("/", O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (!root) return 1;
  if (request.kind == EntryRequest::Kind::kCopyOut) return Send(request, root.get()) ? 0 : 1;
  const Status made = Receive(request, root.get());
  const std::string last = made ? TreeEnd() : TreeFailure(made.error());
  return WriteAll(1, last) && made ? 0 : 1;
}

}  // namespace writ::backends::launch
