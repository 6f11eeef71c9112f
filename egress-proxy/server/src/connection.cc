#include "connection.h"

#include <sys/socket.h>

#include <algorithm>

#include "writ/base/encoding.h"

namespace writ::egress {
namespace {
constexpr std::size_t kReadBytes = 16 * 1024;
constexpr std::chrono::milliseconds kLinger{1'000};
}  // namespace

Session::Session(asio::io_context& loop, ProxyConfig configuration, RunnerLink& runner,
                 Resolver& names)
    : io(loop), config(std::move(configuration)), link(runner), resolver(names) {
  for (const ResolverOverride& entry : config.resolver_overrides)
    overrides[entry.name] = entry.addresses;
  if (!config.token.empty()) expected_credentials.append("writ:").append(config.token.Reveal());
}

Connection::Connection(Session& session, UniqueFd socket, ListenerReach reach)
    : session_(session),
      client_(session.io, std::move(socket)),
      reach_(reach),
      watchdog_(session.io) {}

void Connection::Abort(std::string_view why) {
  if (abort_why_.empty()) abort_why_ = why;
  client_.Abort();
  if (upstream_) upstream_->Abort();
}

// The timer is armed once and looks at the deadline when it fires, so that progress costs no timer
// call; it is armed anew only when the deadline comes nearer.
void Connection::Watch() {
  if (watching_ && deadline_ >= watchdog_.expiry()) return;
  watching_ = true;
  watchdog_.expires_at(deadline_);
  watchdog_.async_wait([self = shared_from_this()](const asio::error_code& error) {
    if (error || self->finished_) return;
    self->watching_ = false;
    if (Clock::now() < self->deadline_) {
      self->Watch();
      return;
    }
    self->Abort(self->deadline_ >= self->hard_end_ ? "total-timeout" : "idle-timeout");
  });
}

void Connection::StepDeadline(std::chrono::milliseconds from_now) {
  deadline_ = std::min(Clock::now() + from_now, hard_end_);
  Watch();
}

void Connection::Touch() {
  deadline_ = std::min(Clock::now() + session_.config.limits.idle, hard_end_);
  if (!watching_) Watch();
}

asio::awaitable<bool> Connection::PeerIsForeign() {
  if (reach_ != ListenerReach::kShared || !session_.peer_guard || !session_.config.allowed_uid)
    co_return false;
  if (session_.peer_guard->OwnerOfPeer(client_.fd()) == session_.config.allowed_uid)
    co_return false;
  ++session_.counters.foreign_peer;
  RefusalEvent event{0, Reason::kForeignPeer, "peer.uid", 0};
  co_await session_.link.Emit(std::move(event), session_.counters);
  co_return true;
}

asio::awaitable<void> Connection::Run() {
  auto self = shared_from_this();
  if (!co_await PeerIsForeign()) {
    while (co_await ServeOne() == Next::kKeep) {
      upstream_.reset();
      hard_end_ = Clock::time_point::max();
    }
    if (!client_.aborted()) co_await LingeringClose();
  }
  finished_ = true;
  watchdog_.cancel();
  upstream_.reset();
  ++session_.counters.closed;
  session_.connections.erase(self);
}

bool Connection::Authenticated(const RequestHead& head) const {
  if (reach_ == ListenerReach::kPrivate) return true;
  if (session_.expected_credentials.empty()) return false;
  const std::string* value = nullptr;
  for (const HeaderField& field : head.headers) {
    if (!EqualsIgnoreCase(field.name, "Proxy-Authorization")) continue;
    if (value != nullptr) return false;  // two credentials are two readings
    value = &field.value;
  }
  if (value == nullptr || value->size() < 6 ||
      !EqualsIgnoreCase(std::string_view(*value).substr(0, 6), "Basic "))
    return false;
  auto given = Base64Decode(std::string_view(*value).substr(6));
  return given && ConstantTimeEqual(*given, session_.expected_credentials);
}

ReplyShape Connection::ShapeFor(const RequestHead& head) {
  // After CONNECT, or with a body under way, what comes next on this connection is not a head.
  bool keep =
      head.keep_alive && head.method != "CONNECT" && head.body.kind == BodyFraming::Kind::kNone;
  return {keep ? AfterReply::kKeepOpen : AfterReply::kClose,
          head.method == "HEAD" ? ReplyBody::kOmit : ReplyBody::kSend};
}

Connection::Asker Connection::AskerOf(const RequestHead& head) {
  return {head.method == "CONNECT" ? Protocol::kConnect : Protocol::kHttp, head.method,
          ShapeFor(head)};
}

asio::awaitable<ssize_t> Connection::ReadMore() {
  char chunk[kReadBytes];
  const ssize_t n = co_await client_.Read(chunk, sizeof chunk);
  if (n > 0) in_.append(chunk, static_cast<std::size_t>(n));
  co_return n;
}

asio::awaitable<Connection::Next> Connection::Refuse(HttpRefusal refusal) {
  ++session_.counters.malformed;
  RefusalEvent event{0, Reason::kMalformed, std::string(refusal.code), refusal.status};
  co_await session_.link.Emit(std::move(event), session_.counters);
  if (refusal.status != 0)
    client_.SendNow(RefusalReply(refusal.status, refusal.code, ReplyShape{}));
  co_return Next::kClose;
}

asio::awaitable<Connection::Next> Connection::RefuseUnauthenticated(const RequestHead& head) {
  ++session_.counters.unauthenticated;
  RefusalEvent event{0, Reason::kUnauthenticated, "proxy.token", 407};
  co_await session_.link.Emit(std::move(event), session_.counters);
  ReplyShape shape = ShapeFor(head);
  std::string reply = UnauthenticatedReply(shape);
  int error = co_await client_.Write(reply);
  co_return error == 0 && shape.after == AfterReply::kKeepOpen ? Next::kKeep : Next::kClose;
}

asio::awaitable<Connection::Next> Connection::ServeOne() {
  const HeadLimits limits{session_.config.limits.head_bytes, session_.config.limits.header_count};
  HeadScanner scanner(limits);
  StepDeadline(in_.empty() ? session_.config.limits.idle : session_.config.limits.head);
  std::size_t head_bytes = 0;
  bool begun = false;
  for (;;) {
    if (!in_.empty()) {
      if (!begun) {
        begun = true;
        ++session_.counters.requests;
        StepDeadline(session_.config.limits.head);
        if (!spoke_http_ && in_.front() == kSocksVersion) co_return co_await ServeSocks();
        spoke_http_ = true;
      }
      auto found = scanner.Scan(in_);
      if (const auto* complete = std::get_if<HeadScanner::Complete>(&found)) {
        head_bytes = complete->bytes;
        break;
      }
      if (const auto* refused = std::get_if<HttpRefusal>(&found))
        co_return co_await Refuse(*refused);
    }
    if (co_await ReadMore() > 0) continue;
    if (!begun) co_return Next::kClose;
    bool late = abort_why_ == "idle-timeout";
    co_return co_await Refuse(late ? HttpRefusal{"http.head_timeout", 408}
                                   : HttpRefusal{"http.head_cut", 0});
  }
  auto parsed = ParseRequestHead(std::string_view(in_).substr(0, head_bytes), limits);
  in_.erase(0, head_bytes);
  if (const auto* refused = std::get_if<HttpRefusal>(&parsed)) co_return co_await Refuse(*refused);
  RequestHead head = std::move(std::get<RequestHead>(parsed));
  if (!Authenticated(head)) co_return co_await RefuseUnauthenticated(head);
  if (head.method == "CONNECT") co_return co_await ServeConnect(std::move(head));
  hard_end_ = Clock::now() + session_.config.limits.total;
  co_return co_await Forward(std::move(head));
}

// Closing with unread bytes would reset the connection and could take our last reply with it.
asio::awaitable<void> Connection::LingeringClose() {
  hard_end_ = Clock::time_point::max();
  client_.ShutdownWrite();
  StepDeadline(kLinger);
  for (int rounds = 0; rounds < 64; ++rounds) {
    ssize_t n = co_await client_.Read(session_.scratch.data(), session_.scratch.size());
    if (n <= 0) break;
  }
}

}  // namespace writ::egress
