#include "writ/backends/microvm/session.h"

#include <fcntl.h>
#include <nghttp2/nghttp2.h>
#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <utility>
#include <vector>

#include "writ/base/encoding.h"

namespace writ::backends::microvm {
namespace {

constexpr std::size_t kReadBytes = 64 * 1024;
// Of all streams together: one that nobody reads never holds another one up.
constexpr auto kConnectionWindow = static_cast<std::int32_t>(kMaxStreams * kStreamWindow);
constexpr int kReadsAtOnce = 16;  // before the loop looks elsewhere again
constexpr char kTokenHeader[] = "writ-token";
constexpr std::string_view kPreface(NGHTTP2_CLIENT_MAGIC, NGHTTP2_CLIENT_MAGIC_LEN);
constexpr std::size_t kMaxSkipped = 1u << 20;  // ahead of it

std::string_view View(const std::uint8_t* data, std::size_t size) {
  return {reinterpret_cast<const char*>(data), size};
}

nghttp2_nv Header(std::string_view name, std::string_view value, std::uint8_t flags = 0) {
  return {reinterpret_cast<std::uint8_t*>(const_cast<char*>(name.data())),
          reinterpret_cast<std::uint8_t*>(const_cast<char*>(value.data())), name.size(),
          value.size(), flags};
}

}  // namespace

struct SessionCallbacks {
  static Session& Of(void* user) { return *static_cast<Session*>(user); }

  static int OnBeginHeaders(nghttp2_session*, const nghttp2_frame* frame, void* user) {
    Session& s = Of(user);
    if (s.side_ == Session::Side::kHost) return 0;
    if (frame->hd.type != NGHTTP2_HEADERS || frame->headers.cat != NGHTTP2_HCAT_REQUEST) return 0;
    auto stream = std::make_shared<Stream>();
    stream->session_ = &s;
    stream->id_ = frame->hd.stream_id;
    s.streams_[stream->id_] = std::move(stream);
    return 0;
  }

  static int OnHeader(nghttp2_session*, const nghttp2_frame* frame, const std::uint8_t* name,
                      std::size_t name_size, const std::uint8_t* value, std::size_t value_size,
                      std::uint8_t, void* user) {
    Session& s = Of(user);
    auto stream = s.Find(frame->hd.stream_id);
    if (!stream) return 0;
    stream->header_bytes_ += name_size + value_size;
    if (stream->header_bytes_ > kMaxHeaderBytes) {
      s.why_ = "the peer sent too many header fields";
      return NGHTTP2_ERR_CALLBACK_FAILURE;
    }
    const std::string_view key = View(name, name_size);
    const std::string_view text = View(value, value_size);
    if (s.side_ == Session::Side::kGuest && key == ":path") stream->path_ = text;
    if (s.side_ == Session::Side::kGuest && key == kTokenHeader) stream->token_ = text;
    if (s.side_ == Session::Side::kHost && key == ":status") {
      int status = 0;
      std::from_chars(text.data(), text.data() + text.size(), status);
      stream->status_ = status;
    }
    return 0;
  }

  static int OnFrame(nghttp2_session*, const nghttp2_frame* frame, void* user) {
    Session& s = Of(user);
    if (frame->hd.type == NGHTTP2_PING && (frame->hd.flags & NGHTTP2_FLAG_ACK) != 0) {
      if (auto answered = std::exchange(s.pinged_, nullptr)) answered();
      return 0;
    }
    if (frame->hd.type == NGHTTP2_GOAWAY) {
      s.why_ = "the peer ended the channel";
      return NGHTTP2_ERR_CALLBACK_FAILURE;
    }
    auto stream = s.Find(frame->hd.stream_id);
    if (!stream) return 0;
    if (frame->hd.type == NGHTTP2_HEADERS && (frame->hd.flags & NGHTTP2_FLAG_END_HEADERS) != 0) {
      if (s.side_ == Session::Side::kGuest && frame->headers.cat == NGHTTP2_HCAT_REQUEST) {
        const bool known = !s.token_.empty() && ConstantTimeEqual(stream->token_, s.token_);
        stream->token_.clear();
        if (!known) {
          stream->Answer(403);
          stream->Finish();
          return 0;
        }
        s.events_.on_request(stream);
      }
      // Once: what comes after the first head, a second one or trailers, is nobody's answer.
      if (auto call = std::exchange(stream->on_status, nullptr)) call(stream->status_);
    }
    const bool may_end = frame->hd.type == NGHTTP2_HEADERS || frame->hd.type == NGHTTP2_DATA;
    if (may_end && (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) != 0 && stream->open() &&
        !std::exchange(stream->ended_, true) && stream->on_end) {
      auto call = stream->on_end;  // a copy: it may be taken away while it runs
      call();
    }
    return 0;
  }

  // A promise is refused here: until the peer has acknowledged that we take none - which it may
  // never do - nghttp2 answers each by a reset that waits to be sent, as many as the peer likes.
  static int OnBeginFrame(nghttp2_session*, const nghttp2_frame_hd* head, void* user) {
    if (head->type != NGHTTP2_PUSH_PROMISE) return 0;
    Of(user).why_ = "the peer broke the protocol: it made a promise";
    return NGHTTP2_ERR_CALLBACK_FAILURE;
  }

  // What nghttp2 would answer by resetting one stream ends the session too: a peer of ours sends no
  // such frame, and one that does has nothing more to say.
  static int OnInvalidFrame(nghttp2_session*, const nghttp2_frame*, int error, void* user) {
    Of(user).why_ = std::string("the peer broke the protocol: ") + nghttp2_strerror(error);
    return NGHTTP2_ERR_CALLBACK_FAILURE;
  }

  static int OnData(nghttp2_session* session, std::uint8_t, std::int32_t id,
                    const std::uint8_t* data, std::size_t size, void* user) {
    auto stream = Of(user).Find(id);
    if (stream && stream->on_bytes) {
      stream->unconsumed_ += size;
      auto call = stream->on_bytes;
      call(View(data, size));
    } else {
      nghttp2_session_consume(session, id, size);
    }
    return 0;
  }

  static int OnClose(nghttp2_session*, std::int32_t id, std::uint32_t, void* user) {
    Of(user).Drop(id);
    return 0;
  }

  static ssize_t Read(nghttp2_session*, std::int32_t, std::uint8_t* buffer, std::size_t size,
                      std::uint32_t* flags, nghttp2_data_source* source, void*) {
    auto* stream = static_cast<Stream*>(source->ptr);
    const std::size_t count = std::min(size, stream->buffered());
    std::memcpy(buffer, stream->out_.data() + stream->out_at_, count);
    stream->out_at_ += count;
    if (stream->buffered() == 0) {
      stream->out_.clear();
      stream->out_at_ = 0;
      if (stream->finished_) *flags |= NGHTTP2_DATA_FLAG_EOF;
      if (count != 0 && stream->session_ != nullptr && stream->on_drained) {
        Session& s = *stream->session_;
        // Later: it may want to write, and we are in the middle of that.
        auto held = s.Find(stream->id_);
        if (held)
          s.loop_.At(EventLoop::Clock::now(), [held] {
            if (!held->open() || held->buffered() != 0 || !held->on_drained) return;
            auto call = held->on_drained;
            call();
          });
      }
    }
    if (count == 0 && !stream->finished_) return NGHTTP2_ERR_DEFERRED;
    return static_cast<ssize_t>(count);
  }
};

void Stream::Answer(int status) {
  if (session_ == nullptr) return;
  const std::string text = std::to_string(status);
  const std::array<nghttp2_nv, 1> headers = {Header(":status", text)};
  nghttp2_data_provider source{};
  source.source.ptr = this;
  source.read_callback = SessionCallbacks::Read;
  nghttp2_submit_response(session_->session_, id_, headers.data(), headers.size(), &source);
  session_->SendSoon();
}

void Stream::Write(std::string_view bytes) {
  if (session_ == nullptr || finished_ || bytes.empty()) return;
  out_.append(bytes);
  nghttp2_session_resume_data(session_->session_, id_);
  session_->SendSoon();
}

void Stream::Finish() {
  if (session_ == nullptr || std::exchange(finished_, true)) return;
  nghttp2_session_resume_data(session_->session_, id_);
  session_->SendSoon();
}

void Stream::Reset() {
  if (session_ == nullptr) return;
  nghttp2_submit_rst_stream(session_->session_, NGHTTP2_FLAG_NONE, id_, NGHTTP2_CANCEL);
  session_->SendSoon();
}

void Stream::Forget() {
  session_ = nullptr;
  on_status = nullptr;
  on_bytes = nullptr;
  on_end = nullptr;
  on_drained = nullptr;
  on_closed = nullptr;
}

void Stream::Consumed(std::size_t bytes) {
  if (session_ == nullptr || bytes == 0) return;
  unconsumed_ -= std::min(bytes, unconsumed_);
  nghttp2_session_consume(session_->session_, id_, bytes);
  session_->SendSoon();
}

Session::Session(EventLoop& loop, UniqueFd transport, Side side, std::string token, Events events)
    : loop_(loop),
      transport_(std::move(transport)),
      side_(side),
      token_(std::move(token)),
      events_(std::move(events)),
      greeted_(side == Side::kHost) {}

Result<std::unique_ptr<Session>> Session::Make(EventLoop& loop, UniqueFd transport, Side side,
                                               std::string token, Events events) {
  const int flags = ::fcntl(transport.get(), F_GETFL);
  if (flags < 0 || ::fcntl(transport.get(), F_SETFL, flags | O_NONBLOCK) != 0)
    return SysError(errno, "microvm.transport", "the transport cannot be made non-blocking");
  std::unique_ptr<Session> session(
      new Session(loop, std::move(transport), side, std::move(token), std::move(events)));
  WRIT_TRY(session->Start());
  return session;
}

Session::~Session() {
  loop_.Remove(watch_);
  loop_.Remove(soon_);
  for (auto& [id, stream] : streams_) stream->Forget();
  nghttp2_session_del(session_);
}

Status Session::Start() {
  nghttp2_session_callbacks* callbacks = nullptr;
  nghttp2_option* options = nullptr;
  if (nghttp2_session_callbacks_new(&callbacks) != 0 || nghttp2_option_new(&options) != 0)
    return Error{ErrorKind::kInternal, "microvm.session", "no memory for a session"};
  nghttp2_session_callbacks_set_on_begin_headers_callback(callbacks,
                                                          SessionCallbacks::OnBeginHeaders);
  nghttp2_session_callbacks_set_on_header_callback(callbacks, SessionCallbacks::OnHeader);
  nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, SessionCallbacks::OnFrame);
  nghttp2_session_callbacks_set_on_begin_frame_callback(callbacks, SessionCallbacks::OnBeginFrame);
  nghttp2_session_callbacks_set_on_invalid_frame_recv_callback(callbacks,
                                                               SessionCallbacks::OnInvalidFrame);
  nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, SessionCallbacks::OnData);
  nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, SessionCallbacks::OnClose);
  nghttp2_option_set_no_auto_window_update(options, 1);
  nghttp2_option_set_max_settings(options, 16);
  const bool host = side_ == Side::kHost;
  const int made = host ? nghttp2_session_client_new2(&session_, callbacks, this, options)
                        : nghttp2_session_server_new2(&session_, callbacks, this, options);
  nghttp2_session_callbacks_del(callbacks);
  nghttp2_option_del(options);
  if (made != 0) return Error{ErrorKind::kInternal, "microvm.session", nghttp2_strerror(made)};
  std::vector<nghttp2_settings_entry> settings = {
      {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, kStreamWindow},
      {NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, host ? 0 : kMaxStreams},
      {NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, kMaxHeaderBytes}};
  if (host) settings.push_back({NGHTTP2_SETTINGS_ENABLE_PUSH, 0});
  nghttp2_submit_settings(session_, NGHTTP2_FLAG_NONE, settings.data(), settings.size());
  nghttp2_session_set_local_window_size(session_, NGHTTP2_FLAG_NONE, 0, kConnectionWindow);
  watch_ = loop_.Add(transport_.get(), POLLIN, [this](short events) { OnTransport(events); });
  SendSoon();
  return {};
}

Result<std::shared_ptr<Stream>> Session::Request(std::string_view path) {
  if (closed_)
    return Error{ErrorKind::kUnavailable, "microvm.channel_closed", "the channel is closed"};
  auto stream = std::make_shared<Stream>();
  const std::array<nghttp2_nv, 5> headers = {
      Header(":method", "POST"), Header(":scheme", "http"), Header(":authority", "guest"),
      Header(":path", path), Header(kTokenHeader, token_, NGHTTP2_NV_FLAG_NO_INDEX)};
  nghttp2_data_provider source{};
  source.source.ptr = stream.get();
  source.read_callback = SessionCallbacks::Read;
  const std::int32_t id =
      nghttp2_submit_request(session_, nullptr, headers.data(), headers.size(), &source, nullptr);
  if (id < 0) return Error{ErrorKind::kUnavailable, "microvm.channel", nghttp2_strerror(id)};
  stream->session_ = this;
  stream->id_ = id;
  stream->path_ = path;
  streams_[id] = stream;
  SendSoon();
  return stream;
}

void Session::Ping(std::function<void()> answered) {
  if (closed_) return;
  pinged_ = std::move(answered);
  nghttp2_submit_ping(session_, NGHTTP2_FLAG_NONE, nullptr);
  SendSoon();
}

void Session::OnTransport(short events) {
  if ((events & POLLOUT) != 0) Send();
  if (!closed_ && (events & (POLLIN | POLLHUP | POLLERR)) != 0)
    for (int i = 0; i < kReadsAtOnce && !closed_ && ReadSome(); ++i) continue;
  if (!closed_) Send();
}

bool Session::ReadSome() {
  std::array<std::uint8_t, kReadBytes> buffer{};
  const ssize_t count = ::read(transport_.get(), buffer.data(), buffer.size());
  if (count < 0 && (errno == EAGAIN || errno == EINTR)) return false;
  if (count <= 0) {
    Close(count == 0 ? "the channel is at its end"
                     : std::string("the channel broke: ") + std::strerror(errno));
    return false;
  }
  std::string_view bytes = View(buffer.data(), static_cast<std::size_t>(count));
  std::string first;
  if (!greeted_) {
    first = AfterPreface(bytes);
    if (skipped_ > kMaxSkipped) Close("the peer broke the protocol: it does not begin");
    if (!greeted_) return false;
    bytes = first;
  }
  const ssize_t taken = nghttp2_session_mem_recv(
      session_, reinterpret_cast<const std::uint8_t*>(bytes.data()), bytes.size());
  if (taken < 0) {
    Close(why_.empty() ? std::string("the peer broke the protocol: ") +
                             nghttp2_strerror(static_cast<int>(taken))
                       : why_);
    return false;
  }
  return static_cast<std::size_t>(count) == buffer.size();
}

std::string Session::AfterPreface(std::string_view bytes) {
  skipping_.append(bytes);
  const auto at = skipping_.find(kPreface);
  greeted_ = at != std::string::npos;
  const std::size_t drop =
      greeted_ ? at : skipping_.size() - std::min(skipping_.size(), kPreface.size() - 1);
  skipped_ += drop;
  skipping_.erase(0, drop);
  return greeted_ ? std::exchange(skipping_, {}) : std::string();
}

void Session::SendSoon() {
  if (closed_ || !greeted_ || soon_ != 0) return;
  soon_ = loop_.At(EventLoop::Clock::now(), [this] {
    soon_ = 0;
    Send();
  });
}

void Session::Send() {
  if (closed_ || !greeted_) return;
  for (;;) {
    if (pending_at_ == pending_.size()) {
      const std::uint8_t* data = nullptr;
      const ssize_t size = nghttp2_session_mem_send(session_, &data);
      if (size < 0) return Close(nghttp2_strerror(static_cast<int>(size)));
      if (size == 0) break;
      pending_.assign(reinterpret_cast<const char*>(data), static_cast<std::size_t>(size));
      pending_at_ = 0;
    }
    const ssize_t sent =
        ::write(transport_.get(), pending_.data() + pending_at_, pending_.size() - pending_at_);
    if (sent < 0 && errno == EINTR) continue;
    if (sent < 0 && errno == EAGAIN) {
      loop_.SetEvents(watch_, POLLIN | POLLOUT);
      return;
    }
    if (sent < 0) return Close(std::string("the channel broke: ") + std::strerror(errno));
    pending_at_ += static_cast<std::size_t>(sent);
  }
  loop_.SetEvents(watch_, POLLIN);
  if (nghttp2_session_want_read(session_) == 0 && nghttp2_session_want_write(session_) == 0)
    Close("the peer broke the protocol");
}

void Session::Close(const std::string& reason) {
  if (std::exchange(closed_, true)) return;
  loop_.Remove(watch_);
  loop_.Remove(soon_);
  while (!streams_.empty()) Drop(streams_.begin()->first);
  pinged_ = nullptr;
  if (events_.on_closed) {
    auto told = std::exchange(events_.on_closed, nullptr);
    told(reason);
  }
}

std::shared_ptr<Stream> Session::Find(std::int32_t id) const {
  auto it = streams_.find(id);
  return it == streams_.end() ? nullptr : it->second;
}

void Session::Drop(std::int32_t id) {
  auto it = streams_.find(id);
  if (it == streams_.end()) return;
  auto stream = std::move(it->second);
  streams_.erase(it);
  stream->session_ = nullptr;
  // Nobody gives it back any more, and the connection's window is everybody's.
  if (!closed_ && stream->unconsumed_ > 0) {
    nghttp2_session_consume_connection(session_, std::exchange(stream->unconsumed_, 0));
    SendSoon();
  }
  if (auto closed = std::exchange(stream->on_closed, nullptr)) closed();
  stream->Forget();
}

}  // namespace writ::backends::microvm
