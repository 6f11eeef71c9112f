#include "http/connection.h"

// As the Debian package was built (cpp-httplib.pc): the class layouts depend on these.
#define CPPHTTPLIB_OPENSSL_SUPPORT
#define CPPHTTPLIB_ZLIB_SUPPORT
#define CPPHTTPLIB_BROTLI_SUPPORT
#include <httplib.h>

#include <algorithm>
#include <ctime>

#include "http/answers.h"
#include "writ/base/encoding.h"
#include "writ/base/log.h"
#include "writ/base/log_request.h"
#include "writ/protocol/digest.h"

namespace writ::plane::http {
namespace {

constexpr std::size_t kFlushBytes = 64 * 1024;
constexpr std::size_t kBlobPiece = 256 * 1024;

// The bytes of one connection, with what was read ahead of its use.
class Channel {
 public:
  Channel(Socket& socket, const ConnectionLimits& limits) : socket_(socket), limits_(limits) {}

  bool PeerGone() const { return socket_.PeerGone(); }

  // The next head, up to its empty line; empty at the end of the connection or on a time-out.
  // kInvalid "http.head_too_large".
  Result<std::string> ReadHead() {
    std::size_t searched = 0;
    auto deadline = std::chrono::steady_clock::now() + limits_.idle;
    bool begun = false;
    for (;;) {
      std::size_t end = ahead_.find("\r\n\r\n", searched > 3 ? searched - 3 : 0);
      if (end != std::string::npos && end + 4 <= limits_.max_head_bytes) {
        std::string head = ahead_.substr(0, end + 4);
        ahead_.erase(0, end + 4);
        return head;
      }
      if (ahead_.size() > limits_.max_head_bytes) {
        return Error{.kind = ErrorKind::kInvalid,
                     .code = "http.head_too_large",
                     .message = "the request head is too large"};
      }
      searched = ahead_.size();
      if (!begun && !ahead_.empty()) {
        begun = true;
        deadline = std::chrono::steady_clock::now() + limits_.head;
      }
      auto left = std::chrono::duration_cast<std::chrono::milliseconds>(
          deadline - std::chrono::steady_clock::now());
      char buffer[8192];
      ssize_t n = left.count() > 0 ? socket_.Read(buffer, sizeof buffer, left) : -1;
      if (n <= 0) return std::string();
      ahead_.append(buffer, static_cast<std::size_t>(n));
    }
  }

  ssize_t Read(char* out, std::size_t size) {
    if (!Flush()) return -1;  // "100 Continue" must be out before the body is waited for
    if (!ahead_.empty()) {
      std::size_t n = std::min(size, ahead_.size());
      ahead_.copy(out, n);
      ahead_.erase(0, n);
      return static_cast<ssize_t>(n);
    }
    return socket_.Read(out, size, limits_.io);
  }
  bool Write(std::string_view bytes) {
    pending_ += bytes;
    return pending_.size() < kFlushBytes || Flush();
  }
  bool Flush() {
    if (pending_.empty()) return true;
    bool sent = socket_.Write(pending_, limits_.io);
    // An answer may hold a secret's value (L8).
    explicit_bzero(pending_.data(), pending_.size());
    pending_.clear();
    return sent;
  }

 private:
  Socket& socket_;
  const ConnectionLimits& limits_;
  std::string ahead_;    // read, not yet used
  std::string pending_;  // to be sent
};

// What the library reads: our canonical head, then the client's body.
class MessageStream final : public httplib::Stream {
 public:
  MessageStream(Channel& channel, std::string head) : channel_(channel), head_(std::move(head)) {}
  bool is_readable() const override { return true; }
  bool is_writable() const override { return true; }
  ssize_t read(char* out, size_t size) override {
    if (used_ < head_.size()) {
      std::size_t n = head_.copy(out, size, used_);
      used_ += n;
      return static_cast<ssize_t>(n);
    }
    return channel_.Read(out, size);
  }
  ssize_t write(const char* bytes, size_t size) override {
    return channel_.Write({bytes, size}) ? static_cast<ssize_t>(size) : -1;
  }
  void get_remote_ip_and_port(std::string& ip, int& port) const override {
    ip.clear();
    port = 0;
  }
  void get_local_ip_and_port(std::string& ip, int& port) const override {
    ip.clear();
    port = 0;
  }
  socket_t socket() const override { return 0; }  // the library only compares it with FD_SETSIZE

 private:
  Channel& channel_;
  std::string head_;
  std::size_t used_ = 0;
};

// One request on its way through the library; reached by the handlers through the thread.
struct Exchange {
  const RequestHead& head;
  Request& request;
  bool body_read = false;  // to its end
  int status = 0;
  std::shared_ptr<const log::RunContext> run = nullptr;
};
thread_local Exchange* t_exchange = nullptr;

// Streams a blob and holds back its last piece until the hash of the whole has been seen: what is
// damaged on disk never arrives complete.
class BlobSender {
 public:
  BlobSender(Plane::Blob blob, std::string hash) : blob_(std::move(blob)), hash_(std::move(hash)) {}
  bool Send(std::size_t offset, httplib::DataSink& sink) {
    buffer_.resize(std::min<std::uint64_t>(kBlobPiece, blob_.bytes - offset));
    ssize_t n = ::pread(blob_.fd.get(), buffer_.data(), buffer_.size(), static_cast<off_t>(offset));
    if (n <= 0) return false;
    std::string_view piece(buffer_.data(), static_cast<std::size_t>(n));
    hasher_.Update(piece);
    if (offset + piece.size() == blob_.bytes && hasher_.Finish().ToHex() != hash_) {
      damaged_ = true;
      return false;
    }
    return sink.write(piece.data(), piece.size());
  }
  bool damaged() const { return damaged_; }
  const std::string& hash() const { return hash_; }

 private:
  Plane::Blob blob_;
  std::string hash_;
  std::string buffer_;
  protocol::Sha256Hasher hasher_;
  bool damaged_ = false;
};

// RFC 9110 section 5.6.7. Runners judge contracts by it.
std::string HttpDate(WallTime now) {
  const std::time_t seconds = now.unix_ms / 1000;
  std::tm parts{};
  ::gmtime_r(&seconds, &parts);
  char text[64];
  std::strftime(text, sizeof text, "%a, %d %b %Y %H:%M:%S GMT", &parts);  // of the C locale
  return text;
}

}  // namespace

struct MessageEngine::Impl final : public httplib::Server {
  Router& router;
  const Clock& clock;

  Impl(Router& r, const Clock& c) : router(r), clock(c) {
    svr_sock_ = 0;  // "not shutting down" to the code that writes streamed answers
    set_payload_max_length((std::numeric_limits<std::size_t>::max)());  // limits are the router's
    Get("/x", [this](const httplib::Request&, httplib::Response& res) {
      t_exchange->body_read = true;
      Run(res);
    });
    Post("/x", [this](const httplib::Request&, httplib::Response& res,
                      const httplib::ContentReader& reader) {
      t_exchange->body_read = !t_exchange->head.HasBody();
      t_exchange->request.read_body = [&reader](const std::function<bool(std::string_view)>& take) {
        if (t_exchange->body_read) return true;
        t_exchange->body_read = reader([&take](const char* bytes, std::size_t size) {
          return take(std::string_view(bytes, size));
        });
        return t_exchange->body_read;
      };
      Run(res);
    });
  }

  void Run(httplib::Response& res) {
    Response answer = router.Handle(t_exchange->request);
    t_exchange->status = res.status = answer.status;
    t_exchange->run = answer.run;
    res.set_header("Date", HttpDate(clock.Now()));
    res.set_header("X-Request-Id", t_exchange->request.id);
    res.set_header("Cache-Control", "no-store");
    res.set_header("X-Content-Type-Options", "nosniff");
    for (const auto& [name, value] : answer.headers) res.set_header(name, value);
    if (!t_exchange->body_read) res.set_header("Connection", "close");
    if (answer.lines) {
      res.set_chunked_content_provider(
          answer.content_type,
          [lines = std::move(answer.lines)](std::size_t, httplib::DataSink& sink) {
            auto written = lines([&sink](std::string_view line) -> Status {
              std::string text(line);
              text += '\n';
              if (sink.write(text.data(), text.size())) return {};
              return Error{.kind = ErrorKind::kUnavailable,
                           .code = "http.gone",
                           .message = "the client went away"};
            });
            if (!written) return false;
            sink.done();
            return true;
          });
    } else if (answer.blob && answer.blob->bytes > 0) {
      const std::size_t size = answer.blob->bytes;
      auto sender = std::make_shared<BlobSender>(std::move(*answer.blob), answer.blob_hash);
      res.set_content_provider(
          size, answer.content_type,
          [sender](std::size_t offset, std::size_t, httplib::DataSink& sink) {
            return sender->Send(offset, sink);
          },
          [sender, this](bool) {
            if (sender->damaged()) router.Damaged(sender->hash());
          });
    } else {
      res.set_content(answer.body, answer.content_type);
      explicit_bzero(answer.body.data(), answer.body.size());
    }
  }

  // One request; false when the connection is of no more use.
  bool Handle(Channel& channel, const RequestHead& head, const PeerAddress& peer) {
    Request request{.head = head,
                    .id = "req_" + HexEncode(RandomBytes(8)),
                    .peer = peer.text,
                    .peer_group = peer.group,
                    .peer_is_loopback = peer.loopback,
                    .read_body = [](const auto&) { return true; },
                    .peer_gone = [&channel] { return channel.PeerGone(); }};
    const log::InRequest in_request(request.id);
    Exchange exchange{.head = head, .request = request};
    const auto begun = clock.Monotonic();
    t_exchange = &exchange;
    MessageStream stream(channel, head.Canonical());
    bool closed = false;
    bool written = false;
    written = process_request(stream, false, closed, nullptr);
    t_exchange = nullptr;
    written = channel.Flush() && written;
    const log::InRun in_run(exchange.run);
    log::Info(
        "plane.request", "answered",
        {{"method", head.method},
         {"path", head.path},
         {"status", exchange.status},
         {"peer", peer.text},
         {"ms", std::chrono::duration_cast<std::chrono::milliseconds>(clock.Monotonic() - begun)
                    .count()}});
    return written && !closed && exchange.body_read;
  }
};

MessageEngine::MessageEngine(Router& router, const Clock& clock)
    : impl_(std::make_unique<Impl>(router, clock)) {}
MessageEngine::~MessageEngine() = default;

void MessageEngine::Serve(Socket& socket, const PeerAddress& peer, const ConnectionLimits& limits,
                          const std::atomic<bool>& stopping) {
  Channel channel(socket, limits);
  while (!stopping) {
    auto bytes = channel.ReadHead();
    if (bytes && bytes->empty()) return;
    auto head = bytes ? ParseRequestHead(*bytes, {.max_headers = limits.max_headers})
                      : Result<RequestHead>(bytes.error());
    if (!head) {
      const int status = StatusOf(head.error());
      Response answer = ErrorAnswer(status, "bad_request", head.error().message, head.error());
      channel.Write(
          "HTTP/1.1 " + std::to_string(status) +
          " Refused\r\nContent-Type: application/json\r\nConnection: close\r\nContent-Length: " +
          std::to_string(answer.body.size()) + "\r\n\r\n" + answer.body);
      channel.Flush();
      log::Info("plane.request", "refused",
                {{"status", status}, {"code", head.error().code}, {"peer", peer.text}});
      socket.Linger(std::chrono::seconds(1));
      return;
    }
    if (!impl_->Handle(channel, *head, peer)) {
      socket.Linger(std::chrono::seconds(1));
      return;
    }
  }
}

}  // namespace writ::plane::http
