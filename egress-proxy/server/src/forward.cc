// One HTTP/1.1 exchange in absolute form.
//
// Every exchange has an upstream connection of its own, closed after it: a response can never be
// taken for another request's answer (L29), whatever either side sends. The client's connection is
// kept. Bodies are read by the strict parsers and written anew; trailers and chunk extensions end
// here.
#include <asio/co_spawn.hpp>
#include <asio/detached.hpp>
#include <asio/redirect_error.hpp>
#include <asio/use_awaitable.hpp>
#include <cstdio>

#include "connection.h"
#include "writ/egress/chunked.h"

namespace writ::egress {
namespace {

constexpr std::size_t kBodyBytes = 32 * 1024;
constexpr int kMaxInterim = 16;  // 1xx responses of one exchange

void AppendHeaders(std::string& out, const std::vector<HeaderField>& headers) {
  for (const HeaderField& field : EndToEndHeaders(headers))
    out.append(field.name).append(": ").append(field.value).append("\r\n");
}

std::string ChunkHead(std::size_t size) {
  char text[24];
  int n = std::snprintf(text, sizeof text, "%zx\r\n", size);
  return {text, static_cast<std::size_t>(n)};
}

std::string UpstreamHead(const RequestHead& head, const Target& target, const std::string& path) {
  std::string out = head.method + " " + path + " HTTP/1.1\r\nHost: " + target.host.ForAuthority();
  if (target.port != 80) out.append(":").append(std::to_string(target.port));
  out.append("\r\n");
  AppendHeaders(out, head.headers);
  if (head.body.kind == BodyFraming::Kind::kChunked) {
    out.append("Transfer-Encoding: chunked\r\n");
  } else if (FindHeader(head.headers, "Content-Length") != nullptr) {
    out.append("Content-Length: ").append(std::to_string(head.body.length)).append("\r\n");
  }
  out.append("Via: 1.1 writ\r\nConnection: close\r\n\r\n");
  return out;
}

}  // namespace

struct Connection::Exchange {
  explicit Exchange(asio::io_context& io)
      : request_ended(io, asio::steady_timer::time_point::max()) {}
  RequestHead head;
  Flow flow;
  BodyFraming response_body;
  std::string up_in;  // received from the upstream, not yet used
  bool pump_running = false;
  bool request_complete = false;  // the whole request body has been sent on
  bool request_malformed = false;
  bool response_begun = false;
  bool response_over = false;  // the request pump has nothing to do any more
  bool keep = false;
  std::string close_reason = "done";
  asio::steady_timer request_ended;  // cancelled when the request pump has ended
};

asio::awaitable<Connection::Next> Connection::Forward(RequestHead head) {
  const Asker asker = AskerOf(head);
  auto parsed = ParseAbsoluteTarget(head.target);
  if (const auto* refused = std::get_if<HttpRefusal>(&parsed)) co_return co_await Refuse(*refused);
  AbsoluteTarget absolute = std::move(std::get<AbsoluteTarget>(parsed));
  std::uint16_t port = absolute.authority.port.value_or(80);
  auto host = HostName::Normalise(absolute.authority.host);
  if (!host) {
    Decision bad{false, Reason::kBadHost, "default", {}, host.error().code};
    co_await Deny(bad, PrintableHost(absolute.authority.host), port, asker, {});
    co_return client_.aborted() || ShapeFor(head).after == AfterReply::kClose ? Next::kClose
                                                                              : Next::kKeep;
  }
  if (!head.host.empty()) {
    // The target decides, but a Host that says something else is a request for two readers (L29).
    auto named = ParseAuthority(head.host);
    const auto* parts = std::get_if<AuthorityParts>(&named);
    if (parts == nullptr) co_return co_await Refuse(std::get<HttpRefusal>(named));
    auto host_header = HostName::Normalise(parts->host);
    if (!host_header || !(*host_header == *host) || parts->port.value_or(80) != port)
      co_return co_await Refuse(HttpRefusal{"http.host_mismatch", 400});
  }
  Target target{Protocol::kHttp, std::move(*host), port};
  auto flow = co_await OpenFlow(target, asker);
  if (!flow) {
    bool keep = !client_.aborted() && ShapeFor(head).after == AfterReply::kKeepOpen;
    co_return keep ? Next::kKeep : Next::kClose;
  }
  auto exchange = std::make_shared<Exchange>(session_.io);
  exchange->head = std::move(head);
  exchange->flow = std::move(*flow);

  std::string upstream_head = UpstreamHead(exchange->head, target, absolute.path_and_query);
  if (co_await upstream_->Write(upstream_head) != 0) {
    co_await FailFlow(exchange->flow, asker, 502, std::string(WhyEnded("upstream-error")));
    co_return Next::kClose;
  }
  exchange->flow.event.bytes_up += upstream_head.size();
  if (exchange->head.body.kind == BodyFraming::Kind::kNone) {
    exchange->request_complete = true;
  } else {
    exchange->pump_running = true;
    asio::co_spawn(session_.io, PumpRequestBody(exchange), asio::detached);
  }
  co_await PumpResponse(exchange);
  exchange->response_over = true;
  while (exchange->pump_running) {
    client_.CancelWaits();
    upstream_->Abort();
    asio::error_code ignored;
    co_await exchange->request_ended.async_wait(asio::redirect_error(asio::use_awaitable, ignored));
  }
  co_await EndFlow(exchange->flow, std::string(WhyEnded(exchange->close_reason)));
  co_return exchange->keep && !client_.aborted() ? Next::kKeep : Next::kClose;
}

asio::awaitable<void> Connection::PumpRequestBody(std::shared_ptr<Exchange> exchange) {
  auto self = shared_from_this();
  ChunkedDecoder decoder;
  std::uint64_t left = exchange->head.body.length;
  bool chunked = exchange->head.body.kind == BodyFraming::Kind::kChunked;
  bool failed = false;
  while (!exchange->request_complete && !failed && !exchange->response_over) {
    if (in_.empty()) {
      std::string chunk(kBodyBytes, '\0');
      ssize_t n = co_await client_.Read(chunk.data(), chunk.size());
      if (n <= 0) {
        failed = true;
        if (!exchange->response_over)
          exchange->close_reason = n == 0 ? "client-closed" : "client-error";
        break;
      }
      chunk.resize(static_cast<std::size_t>(n));
      in_ = std::move(chunk);
      Touch();
    }
    std::string out;
    if (chunked) {
      auto step = decoder.Next(in_);
      if (step.refused) {
        exchange->request_malformed = true;
        exchange->close_reason = "client-error";
        failed = true;
        break;
      }
      if (!step.data.empty()) out = ChunkHead(step.data.size()).append(step.data).append("\r\n");
      if (step.done) {
        out.append("0\r\n\r\n");
        exchange->request_complete = true;
      }
      in_.erase(0, step.consumed);
    } else {
      std::size_t take = static_cast<std::size_t>(std::min<std::uint64_t>(left, in_.size()));
      out = in_.substr(0, take);
      in_.erase(0, take);
      left -= take;
      exchange->request_complete = left == 0;
    }
    if (out.empty()) continue;
    if (co_await upstream_->Write(out) != 0) {
      failed = true;  // the upstream may still have an answer to give: the response decides
      exchange->request_complete = false;
      break;
    }
    exchange->flow.event.bytes_up += out.size();
  }
  // A request that cannot be completed is not left hanging half-sent.
  if (failed && exchange->close_reason != "done") upstream_->Abort();
  exchange->pump_running = false;
  exchange->request_ended.cancel();
}

asio::awaitable<void> Connection::PumpResponse(std::shared_ptr<Exchange> exchange) {
  const HeadLimits limits{session_.config.limits.head_bytes, session_.config.limits.header_count};
  const RequestHead& head = exchange->head;
  auto fail = [&](int status, std::string_view reason) {
    if (exchange->close_reason == "done") exchange->close_reason = reason;
    ++session_.counters.upstream_failed;
    if (exchange->response_begun) return;
    if (exchange->request_malformed) {
      client_.SendNow(RefusalReply(400, "chunk.malformed", ReplyShape{}));
      return;
    }
    auto waited =
        std::chrono::duration_cast<std::chrono::milliseconds>(Clock::now() - exchange->flow.start);
    ReplyShape shape{AfterReply::kClose, ShapeFor(head).body};
    client_.SendNow(UpstreamFailureReply(status, WhyEnded(reason), head.method,
                                         exchange->flow.event.host, exchange->flow.event.port,
                                         waited, shape));
  };
  for (int interim = 0;; ++interim) {
    HeadScanner scanner(limits);
    std::size_t head_bytes = 0;
    while (head_bytes == 0) {
      auto found = scanner.Scan(exchange->up_in);
      if (const auto* complete = std::get_if<HeadScanner::Complete>(&found)) {
        head_bytes = complete->bytes;
        break;
      }
      if (std::holds_alternative<HttpRefusal>(found)) co_return fail(502, "upstream-malformed");
      char chunk[16 * 1024];
      ssize_t n = co_await upstream_->Read(chunk, sizeof chunk);
      if (n <= 0)
        co_return fail(abort_why_.empty() ? 502 : 504,
                       n == 0 ? "upstream-closed" : "upstream-error");
      exchange->up_in.append(chunk, static_cast<std::size_t>(n));
      Touch();
    }
    auto parsed = ParseResponseHead(std::string_view(exchange->up_in).substr(0, head_bytes), limits,
                                    head.method);
    exchange->up_in.erase(0, head_bytes);
    auto* response = std::get_if<ResponseHead>(&parsed);
    if (response == nullptr || response->status == 101 || interim == kMaxInterim)
      co_return fail(502, "upstream-malformed");
    std::string out =
        "HTTP/1.1 " + std::to_string(response->status) + " " + response->reason + "\r\n";
    AppendHeaders(out, response->headers);
    if (response->status < 200) {
      if (head.minor_version == 0) continue;  // RFC 9110 section 15.2: not for 1.0
      out.append("\r\n");
      if (co_await client_.Write(out) != 0) co_return fail(502, "client-error");
      exchange->flow.event.bytes_down += out.size();
      continue;
    }
    using Kind = BodyFraming::Kind;
    bool open_ended =
        response->body.kind == Kind::kChunked || response->body.kind == Kind::kUntilClose;
    bool chunk_for_client = open_ended && head.minor_version == 1;
    bool until_close = open_ended && head.minor_version == 0;
    exchange->keep = head.keep_alive && exchange->request_complete && !until_close;
    if (chunk_for_client) {
      out.append("Transfer-Encoding: chunked\r\n");
    } else if (!open_ended && response->status != 204 &&
               (head.method != "HEAD" && response->status != 304
                    ? true
                    : FindHeader(response->headers, "Content-Length") != nullptr)) {
      out.append("Content-Length: ").append(std::to_string(response->body.length)).append("\r\n");
    }
    out.append(exchange->keep ? "Via: 1.1 writ\r\nConnection: keep-alive\r\n\r\n"
                              : "Via: 1.1 writ\r\nConnection: close\r\n\r\n");
    exchange->response_begun = true;
    if (co_await client_.Write(out) != 0) {
      exchange->close_reason = "client-error";
      exchange->keep = false;
      co_return;
    }
    exchange->flow.event.bytes_down += out.size();
    exchange->response_body = response->body;
    if (response->body.kind != Kind::kNone &&
        !co_await PumpResponseBody(exchange, chunk_for_client))
      exchange->keep = false;
    co_return;
  }
}

// False: the body did not reach the client whole, so its connection cannot go on.
asio::awaitable<bool> Connection::PumpResponseBody(std::shared_ptr<Exchange> exchange,
                                                   bool chunk_for_client) {
  using Kind = BodyFraming::Kind;
  const BodyFraming framing = exchange->response_body;
  std::uint64_t left = framing.length;
  ChunkedDecoder decoder;
  bool complete = false;
  std::string& in = exchange->up_in;
  while (!complete) {
    if (in.empty()) {
      in.resize(kBodyBytes);
      ssize_t n = co_await upstream_->Read(in.data(), in.size());
      in.resize(n > 0 ? static_cast<std::size_t>(n) : 0);
      if (n == 0 && framing.kind == Kind::kUntilClose) break;
      if (n <= 0) {
        exchange->close_reason = n == 0 ? "upstream-closed" : "upstream-error";
        co_return false;
      }
      Touch();
    }
    std::string out;
    std::string_view data = in;
    std::size_t consumed = in.size();
    if (framing.kind == Kind::kChunked) {
      auto step = decoder.Next(in);
      if (step.refused) {
        exchange->close_reason = "upstream-malformed";
        co_return false;
      }
      data = step.data;
      consumed = step.consumed;
      complete = step.done;
    } else if (framing.kind == Kind::kLength) {
      data = data.substr(0, static_cast<std::size_t>(std::min<std::uint64_t>(left, in.size())));
      left -= data.size();
      complete = left == 0;
    }
    if (!data.empty() && chunk_for_client) {
      out = ChunkHead(data.size()).append(data).append("\r\n");
    } else {
      out = data;
    }
    in.erase(0, consumed);
    if (out.empty()) continue;
    if (co_await client_.Write(out) != 0) {
      exchange->close_reason = "client-error";
      co_return false;
    }
    exchange->flow.event.bytes_down += out.size();
    Touch();
  }
  if (!chunk_for_client) co_return true;
  static constexpr std::string_view kLastChunk = "0\r\n\r\n";
  if (co_await client_.Write(kLastChunk) != 0) {
    exchange->close_reason = "client-error";
    co_return false;
  }
  exchange->flow.event.bytes_down += kLastChunk.size();
  co_return true;
}

}  // namespace writ::egress
