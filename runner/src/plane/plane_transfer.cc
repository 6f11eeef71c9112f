// Blobs and live output.
#include <sys/types.h>
#include <unistd.h>

#include "plane/plane_parts.h"
#include "writ/base/backoff.h"
#include "writ/base/fault.h"
#include "writ/base/file.h"
#include "writ/protocol/digest.h"

namespace writ::runner {

Result<std::uint64_t> PlaneClient::GetBlob(const protocol::Digest& digest,
                                           const Secret& claim_token, int fd,
                                           std::uint64_t max_bytes, const Deadline& deadline,
                                           std::stop_token stop, const BlobProgress& progress) {
  // A transfer that breaks off is begun again, so the loop is here and each attempt starts an empty
  // file.
  Backoff backoff;
  RetryNote note;
  for (;;) {
    if (ftruncate(fd, 0) != 0 || lseek(fd, 0, SEEK_SET) != 0)
      return SysError(errno, "transfer.write", "could not write a blob's file");
    protocol::Sha256Hasher hasher;
    std::uint64_t bytes = 0;
    Status written;
    HttpRequest request;
    request.path = "/v1/blobs/" + digest.ToHex();
    request.bearer = &claim_token;
    request.max_response_bytes = max_bytes;
    request.silence = TransferSilence(0);
    request.sink = [&](std::string_view piece) {
      hasher.Update(piece);
      bytes += piece.size();
      if (progress) progress(piece.size());
      written = WriteAll(fd, piece);
      return written.has_value();
    };
    WRIT_FAULT_TRY("call.get_blob.before");
    Result<HttpResponse> answer = http_.Do(request, deadline, stop);
    WRIT_FAULT_TRY("call.get_blob.after");
    if (!written) return std::move(written).error();
    if (answer && !MayRetry(answer->status) && answer->status != 500) {
      if (answer->status != 200) return Refused("GET", *answer);
      if (hasher.Finish() != digest)
        return Error{.kind = ErrorKind::kIntegrity,
                     .code = "transfer.blob_hash",
                     .message = "the plane at " + http_.origin().host +
                                " gave other bytes than those of blob " + digest.ToHex(),
                     .hint = "its store is damaged, or something on the way changes answers"};
      return bytes;
    }
    if (!answer && answer.error().kind != ErrorKind::kUnavailable) return std::move(answer).error();
    note.Failed(request, answer, deadline);
    auto pause = backoff.Next();
    if (pause >= deadline.Left() || !Backoff::Pause(pause, stop)) {
      if (!answer) return std::move(answer).error();
      return Refused("GET", *answer);
    }
  }
}

Status PlaneClient::PutBlob(std::string_view bytes, const Secret& claim_token,
                            const Deadline& deadline, std::stop_token stop) {
  HttpRequest request = Post("/v1/blobs", bytes);
  request.content_type = "application/octet-stream";
  request.bearer = &claim_token;
  request.silence = TransferSilence(bytes.size());
  WRIT_FAULT_TRY("call.put_blob.before");
  WRIT_ASSIGN(Answered answer, Call(request, Repeat::kAlways, deadline, stop));
  WRIT_FAULT_TRY("call.put_blob.after");
  WRIT_ASSIGN(json::Value value, ReadJson("POST", answer.response));
  if (value.FindString("hash") != protocol::Sha256(bytes).ToHex())
    return Error{.kind = ErrorKind::kIntegrity,
                 .code = "transfer.blob_hash",
                 .message = "the plane at " + http_.origin().host +
                            " named another hash than that of the blob it was given"};
  return {};
}

Result<std::uint64_t> PlaneClient::AppendLog(const protocol::RunId& run, const Secret& claim_token,
                                             LiveStream stream, std::uint64_t offset,
                                             std::string_view bytes, const Deadline& deadline,
                                             std::stop_token stop) {
  std::string path = "/v1/runs/" + run.text() + "/log?offset=" + std::to_string(offset);
  if (stream == LiveStream::kStderr) path += "&stream=stderr";
  if (stream == LiveStream::kProgress) path += "&stream=progress";
  HttpRequest request = Post(std::move(path), bytes);
  request.content_type = "application/octet-stream";
  request.bearer = &claim_token;
  WRIT_FAULT_TRY("call.log.before");
  WRIT_ASSIGN(Answered answer, Call(request, Repeat::kAlways, deadline, stop));
  WRIT_FAULT_TRY("call.log.after");
  const int status = answer.response.status;
  if (status == 404)
    return Error{.kind = ErrorKind::kUnsupported,
                 .code = "plane.no_such_call",
                 .message = "the plane at " + http_.origin().host + " takes no live output"};
  if (status != 200 && status != 409) return Refused("POST", answer.response);
  Result<json::Value> value = json::Parse(answer.response.body, {.max_bytes = 64 * 1024});
  const json::Value* next = value ? value->Find("nextOffset") : nullptr;
  if (next == nullptr) {
    if (status == 200) return offset + bytes.size();  // it has what it was given
    return Refused("POST", answer.response);
  }
  std::optional<std::int64_t> at = next->AsInteger();
  if (!at || *at < 0) return Nonsense("POST", answer.response, "nextOffset is no offset");
  return static_cast<std::uint64_t>(*at);
}

}  // namespace writ::runner
