// Blobs to a plane with the extension: asked for first, then sent in pieces that a broken
// connection or a restarted plane takes up again (protocol.md section 6).
#include <charconv>

#include "plane/plane_parts.h"
#include "writ/base/fault.h"
#include "writ/protocol/digest.h"

namespace writ::runner {
namespace {

constexpr std::size_t kPieceBytes = 8u << 20;
constexpr std::size_t kSmallBytes = 64u << 10;  // cheaper to send than to ask for
constexpr int kMostRewinds = 8;                 // in a row, without progress

std::optional<std::uint64_t> Number(std::string_view text) {
  std::uint64_t out = 0;
  auto [end, problem] = std::from_chars(text.data(), text.data() + text.size(), out);
  if (text.empty() || problem != std::errc() || end != text.data() + text.size())
    return std::nullopt;
  return out;
}

bool Unknown(int status) {
  return status == 404 || status == 405 || status == 501;
}

}  // namespace

Result<BlobSent> PlaneClient::SendBlob(std::string_view bytes, const protocol::Digest& digest,
                                       const Secret& claim_token, const BlobProgress& progress,
                                       const Deadline& deadline, std::stop_token stop) {
  auto whole = [&]() -> Result<BlobSent> {
    WRIT_TRY(PutBlob(bytes, claim_token, deadline, stop));
    if (progress) progress(bytes.size());
    return BlobSent::kSent;
  };
  if (bytes.size() < kSmallBytes || no_pieces_) return whole();
  const std::string path = "/v1/blobs/" + digest.ToHex();
  HttpRequest ask;
  ask.method = "HEAD";
  ask.path = path;
  ask.bearer = &claim_token;
  WRIT_ASSIGN(Answered known, Call(ask, Repeat::kAlways, deadline, stop));
  if (known.response.status == 200) return BlobSent::kKnown;
  // A plane that has no such call, or no part of the blob: which of them, the first piece tells.
  if (!Unknown(known.response.status) && known.response.status != 400)
    return Refused("HEAD", known.response);
  std::uint64_t at = Number(known.response.upload_offset.value_or("0")).value_or(0);
  if (at > bytes.size()) at = 0;
  if (at > 0 && progress) progress(at);
  std::uint64_t furthest = at;
  for (int rewinds = 0;;) {
    const std::string_view piece = bytes.substr(at, kPieceBytes);
    HttpRequest request;
    request.method = "PUT";
    request.path =
        path + "?offset=" + std::to_string(at) + "&total=" + std::to_string(bytes.size());
    request.body = piece;
    request.content_type = "application/octet-stream";
    request.bearer = &claim_token;
    request.max_response_bytes = kSmallAnswer;
    request.silence = TransferSilence(bytes.size());
    WRIT_FAULT_TRY("call.put_piece.before");
    WRIT_ASSIGN(Answered answer, Call(request, Repeat::kAlways, deadline, stop));
    WRIT_FAULT_TRY("call.put_piece.after");
    const int status = answer.response.status;
    if (Unknown(status) && furthest == 0) {
      no_pieces_ = true;
      return whole();
    }
    if (status == 201 || status == 200) {
      Result<json::Value> told = json::Parse(answer.response.body, {.max_bytes = 64 * 1024});
      if (!told || told->FindString("hash") != digest.ToHex())
        return Error{.kind = ErrorKind::kIntegrity,
                     .code = "transfer.blob_hash",
                     .message = "the plane at " + http_.origin().host +
                                " named another hash than that of the blob it was given"};
      if (progress) progress(bytes.size() - furthest);
      return BlobSent::kSent;
    }
    if (status != 202 && status != 409) return Refused("PUT", answer.response);
    Result<json::Value> value = json::Parse(answer.response.body, {.max_bytes = 64 * 1024});
    const json::Value* next = value && value->is_object() ? value->Find("offset") : nullptr;
    const std::optional<std::int64_t> offset = next != nullptr ? next->AsInteger() : std::nullopt;
    if (!offset || *offset < 0 || static_cast<std::uint64_t>(*offset) > bytes.size()) {
      if (status == 409) return Refused("PUT", answer.response);
      return Nonsense("PUT", answer.response, "offset is no place in the blob");
    }
    at = static_cast<std::uint64_t>(*offset);
    if (at > furthest) {
      if (progress) progress(at - furthest);
      furthest = at;
      rewinds = 0;
    } else if (++rewinds > kMostRewinds) {
      return Nonsense("PUT", answer.response, "an upload does not come forward");
    }
  }
}

}  // namespace writ::runner
