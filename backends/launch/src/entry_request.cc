#include "writ/backends/launch/entry_request.h"

#include "writ/backends/launch/wire.h"

namespace writ::backends::launch {

std::string EncodeEntryRequest(const EntryRequest& request) {
  Writer out;
  out.Number(static_cast<std::uint64_t>(request.kind));
  out.Texts(request.argv);
  out.Texts(request.environment);
  out.Text(request.cwd);
  out.Number(request.terminal ? 1 : 0);
  out.Number(request.terminal ? request.terminal->rows : 0);
  out.Number(request.terminal ? request.terminal->columns : 0);
  out.Text(request.path);
  out.Number(request.limits.max_bytes);
  out.Number(request.limits.max_entries);
  return out.Take();
}

Result<EntryRequest> DecodeEntryRequest(std::string_view bytes) {
  Reader in(bytes);
  EntryRequest request;
  request.kind = static_cast<EntryRequest::Kind>(
      in.NumberAtMost(static_cast<std::uint64_t>(EntryRequest::Kind::kCheckpoint)));
  request.argv = in.Texts();
  request.environment = in.Texts();
  request.cwd = in.Text();
  const bool has_terminal = in.NumberAtMost(1) == 1;
  TerminalSize size;
  size.rows = static_cast<std::uint16_t>(in.NumberAtMost(0xffff));
  size.columns = static_cast<std::uint16_t>(in.NumberAtMost(0xffff));
  if (has_terminal) request.terminal = size;
  request.path = in.Text();
  request.limits.max_bytes = in.Number();
  request.limits.max_entries = in.Number();
  const bool command = request.kind == EntryRequest::Kind::kCommand;
  if (command && request.argv.empty()) in.Fail();
  if (!command && (request.terminal || !request.path.starts_with('/') ||
                   !IsTreePath(std::string_view(request.path).substr(1))))
    in.Fail();
  if (!in.AtEnd())
    return Error{ErrorKind::kInvalid, "launch.bad_entry", "the entry request cannot be read"};
  return request;
}

}  // namespace writ::backends::launch
