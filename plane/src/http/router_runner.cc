// The calls of a runner: enrolment, claims, events, completion, live output, blobs.
#include <algorithm>

#include "http/answers.h"
#include "http/parameters.h"
#include "plane_metrics.h"
#include "writ/protocol/runner_capabilities.h"

namespace writ::plane::http {
namespace {

constexpr std::uint64_t kLeastPieceLimit = 16u << 20;

}  // namespace

Response Router::Enroll(const Request& request, const std::string&) {
  auto body = JsonBody(request);
  if (!body) return FromError(body.error());
  json::Issues issues;
  json::ObjectReader reader(issues, *body);
  auto token = reader.String("enrollToken", {.max_bytes = 4096});
  auto key = reader.String("publicKeyPem", {.max_bytes = 4096});
  auto pool = reader.String("pool", {.max_bytes = 256});
  if (!issues.empty()) return IssuesAnswer(issues);
  auto enrolled = plane_.Enroll(token, key, pool);
  if (!enrolled) return Answer(request, enrolled.error());
  return JsonAnswer(200, json::Object{{"runnerId", enrolled->runner_id},
                                      {"runnerToken", enrolled->runner_token}});
}

Response Router::Claim(const Request& request, const std::string&) {
  auto body = JsonBody(request);
  if (!body) return FromError(body.error());
  json::Issues issues;
  json::ObjectReader reader(issues, *body);
  auto token = reader.String("runnerToken", {.max_bytes = 4096});
  auto pool = reader.String("pool", {.max_bytes = 256});
  auto wait = PollTime(reader.OptionalInteger("waitMs").value_or(0));
  auto only_run = reader.OptionalString("runId", {.max_bytes = 128}).value_or("");
  const bool offer = reader.OptionalBool("acknowledge").value_or(false);
  std::optional<protocol::RunnerCapabilities> can;
  if (auto told = reader.OptionalChild("capabilities"))
    can = protocol::RunnerCapabilities::Read(*told);
  if (!issues.empty()) return IssuesAnswer(issues);
  if (offer) {
    return TakeOffer(request, {.token = token,
                               .pool = pool,
                               .only_run = only_run,
                               .wait = wait,
                               .can = can ? &*can : nullptr});
  }
  const auto deadline = clock_.Monotonic() + wait;
  for (;;) {
    auto left =
        std::chrono::duration_cast<std::chrono::milliseconds>(deadline - clock_.Monotonic());
    auto claim =
        plane_.Claim(token, pool, std::clamp(left, std::chrono::milliseconds(0), kPollSlice),
                     request.peer_gone, only_run, can ? &*can : nullptr);
    if (!claim) return Answer(request, claim.error());
    if (*claim) return ClaimAnswer(**claim);
    if (left.count() <= 0 || stopping_ || request.peer_gone())
      return JsonAnswer(200, json::Object{{"empty", true}});
  }
}

Response Router::Events(const Request& request, const std::string& id) {
  auto body = JsonBody(request);
  if (!body) return FromError(body.error());
  json::Issues issues;
  json::ObjectReader reader(issues, *body);
  auto token = reader.String("claimToken", {.max_bytes = 4096});
  const json::Value* events = reader.Require("events");
  if (!issues.empty()) return IssuesAnswer(issues);
  auto answer = plane_.AppendEvents(id, token, *events);
  if (!answer) return Answer(request, answer.error());
  if (!answer->accepted) {
    return JsonAnswer(400, json::Object{{"error", answer->rejection},
                                        {"code", "bad_request"},
                                        {"nextSeq", answer->next_seq},
                                        {"head", answer->head}});
  }
  json::Object out{{"ok", true}};
  if (answer->cancel_requested) out.Set("cancelRequested", true);
  return JsonAnswer(200, out);
}

Response Router::Complete(const Request& request, const std::string& id) {
  auto body = JsonBody(request);
  if (!body) return FromError(body.error());
  json::Issues issues;
  json::ObjectReader reader(issues, *body);
  auto token = reader.String("claimToken", {.max_bytes = 4096});
  auto runner_token = reader.OptionalString("runnerToken", {.max_bytes = 4096}).value_or("");
  const json::Value* receipt = reader.Require("receipt");
  if (!issues.empty()) return IssuesAnswer(issues);
  auto done = plane_.Complete(id, token, *receipt, runner_token);
  if (!done) return Answer(request, done.error());
  if (!done->replayed) return RawJsonAnswer(200, "{\"receipt\":" + done->receipt + "}");
  // For one whose first answer was lost: still a conflict, with what it was.
  return RawJsonAnswer(409,
                       "{\"error\":\"claim token already used for completion\","
                       "\"code\":\"conflict\",\"receipt\":" +
                           done->receipt + "}");
}

namespace {

// "stdout" and none are the run's output, "stderr" what its contract has captured by itself,
// "progress" how far its runner's transfers are.
std::optional<LogStream> StreamOf(const Request& request) {
  auto found = request.head.query.find("stream");
  if (found == request.head.query.end() || found->second == "stdout") return LogStream::kOutput;
  if (found->second == "stderr") return LogStream::kStderr;
  if (found->second == "progress") return LogStream::kProgress;
  return std::nullopt;
}

Response NoSuchStream() {
  return ErrorAnswer(400, "bad_request",
                     "invalid request: stream: must be stdout, stderr or progress");
}

}  // namespace

Response Router::PutLog(const Request& request, const std::string& id) {
  auto token = BearerToken(request);
  if (!token) return FromError(token.error());
  auto offset = QueryNumber(request, "offset", 0);
  if (!offset) return FromError(offset.error());
  const auto stream = StreamOf(request);
  if (!stream) return NoSuchStream();
  auto body = Body(request);
  if (!body) return FromError(body.error());
  auto stored = plane_.AppendLog(id, *token, *stream, static_cast<std::uint64_t>(*offset), *body);
  if (!stored && stored.error().code == "log.gap") {
    auto size = plane_.LogSize(id, *stream);
    if (!size) return Answer(request, size.error());
    return JsonAnswer(
        409, json::Object{
                 {"error", stored.error().message}, {"code", "log.gap"}, {"nextOffset", *size}});
  }
  if (!stored) return Answer(request, stored.error());
  json::Object out{{"ok", true}, {"size", stored->size}};
  // What is over the bound is not wanted again.
  const std::uint64_t given = static_cast<std::uint64_t>(*offset) + body->size();
  out.Set("nextOffset", stored->truncated ? given : stored->size);
  if (stored->truncated) out.Set("truncated", true);
  return JsonAnswer(200, out);
}

Response Router::GetLog(const Request& request, const std::string& id) {
  auto caller = Bearer(request, {Role::kRequester, Role::kApprover});
  if (!caller) return FromError(caller.error());
  if (auto may = plane_.MaySee(*caller, id); !may) return FromError(may.error());
  auto offset = QueryNumber(request, "offset", 0);
  auto wait = QueryNumber(request, "waitMs", 0);
  if (!offset) return FromError(offset.error());
  if (!wait) return FromError(wait.error());
  const auto stream = StreamOf(request);
  if (!stream) return NoSuchStream();
  const auto deadline = clock_.Monotonic() + PollTime(*wait);
  for (;;) {
    auto left =
        std::chrono::duration_cast<std::chrono::milliseconds>(deadline - clock_.Monotonic());
    auto chunk = plane_.ReadLog(id, *stream, static_cast<std::uint64_t>(*offset),
                                std::clamp(left, std::chrono::milliseconds(0), kPollSlice));
    if (!chunk) return FromError(chunk.error());
    if (chunk->bytes.empty() && !chunk->complete && left.count() > 0 && !stopping_) continue;
    Response out;
    out.content_type = "application/octet-stream";
    out.body = std::move(chunk->bytes);
    out.headers = {{"X-Log-Offset", std::to_string(chunk->offset)},
                   {"X-Log-Size", std::to_string(chunk->size)},
                   {"X-Log-Truncated", chunk->truncated ? "true" : "false"},
                   {"X-Log-Complete", chunk->complete ? "true" : "false"}};
    return out;
  }
}

void Router::CountUpload(const char* way, bool good, std::uint64_t bytes) {
  PlaneMetrics& metrics = plane_.metrics();
  metrics.Add(Family::kUploads, {{"way", way}, {"result", good ? "taken" : "refused"}});
  if (good) metrics.Add(Family::kUploadBytes, {}, bytes);
}

Response Router::PutBlob(const Request& request, const std::string&) {
  if (auto may = ClaimOrBearer(request, {Role::kRequester}); !may) return FromError(may.error());
  const std::uint64_t limit = plane_.config().max_blob_bytes;
  if (request.head.content_length.value_or(0) > limit) {
    return ErrorAnswer(413, "too_large",
                       "the blob is over the limit of " + std::to_string(limit) + " bytes");
  }
  auto expected = request.head.query.find("sha256");
  auto blob = plane_.NewBlob();
  if (!blob) return FromError(blob.error());
  Status taken;
  std::uint64_t taken_bytes = 0;
  bool whole = request.read_body([&](std::string_view piece) {
    taken = (*blob)->Append(piece);
    taken_bytes += piece.size();
    return taken.has_value();
  });
  if (!taken) return FromError(taken.error());
  if (!whole) return ErrorAnswer(400, "bad_request", "request body ended early");
  auto hash = (*blob)->Finish(expected == request.head.query.end() ? "" : expected->second);
  CountUpload("whole", hash.has_value(), taken_bytes);
  if (!hash) return FromError(hash.error());
  return JsonAnswer(200, json::Object{{"hash", *hash}});
}

Response Router::PutPiece(const Request& request, const std::string& hash) {
  auto token = BearerToken(request);
  if (!token) return FromError(token.error());
  auto offset = QueryNumber(request, "offset", -1);
  auto total = QueryNumber(request, "total", -1);
  if (!offset) return FromError(offset.error());
  if (!total) return FromError(total.error());
  if (*offset < 0 || *total < 0)
    return ErrorAnswer(400, "bad_request", "invalid request: offset and total must be given");
  // Before a byte is read, and whole before a byte is written: what a broken connection leaves is
  // no piece.
  if (auto may = plane_.AuthenticateClaim(*token); !may) return Answer(request, may.error());
  // Not less than a runner sends, however short an operator wants JSON to be.
  auto body = Body(request, std::max(kLeastPieceLimit, plane_.config().max_json_bytes));
  if (!body) return FromError(body.error());
  auto answer = plane_.PutBlobPiece(*token, {.hash = hash,
                                             .offset = static_cast<std::uint64_t>(*offset),
                                             .total = static_cast<std::uint64_t>(*total),
                                             .bytes = *body});
  CountUpload("piece", answer && answer->fate != PieceFate::kDoesNotFit, body->size());
  if (!answer) return Answer(request, answer.error());
  switch (answer->fate) {
    case PieceFate::kTaken:
      return JsonAnswer(202, json::Object{{"offset", answer->offset}});
    case PieceFate::kStored:
      return JsonAnswer(201, json::Object{{"hash", hash}, {"offset", answer->offset}});
    case PieceFate::kDoesNotFit:
      break;
  }
  return JsonAnswer(409, json::Object{{"error", "the piece does not fit"},
                                      {"code", "conflict"},
                                      {"detail", "blob.piece_place"},
                                      {"offset", answer->offset}});
}

Response Router::GetBlob(const Request& request, const std::string& hash) {
  const BlobReads reads = plane_.config().blob_reads;
  const bool free = reads == BlobReads::kFree ||
                    (reads == BlobReads::kTokenOffLoopback && request.peer_is_loopback);
  if (!free) {
    auto may = ClaimOrBearer(request, {Role::kRequester, Role::kApprover});
    if (!may) return FromError(may.error());
  }
  auto blob = plane_.OpenBlob(hash);
  if (!blob) {
    Response out = FromError(blob.error());
    // How far the asker's own upload has come.
    auto token = BearerToken(request);
    if (request.head.method != "HEAD" || out.status != 404 || !token) return out;
    auto there = plane_.BlobPartBytes(*token, hash);
    if (there && *there > 0) out.headers.emplace_back("Writ-Upload-Offset", std::to_string(*there));
    return out;
  }
  Response out;
  out.content_type = "application/octet-stream";
  out.blob_hash = hash;
  out.blob = std::move(*blob);
  return out;
}

}  // namespace writ::plane::http
