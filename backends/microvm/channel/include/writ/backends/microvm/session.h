// Session: HTTP/2 (RFC 9113, libnghttp2) over one byte stream between the host and a guest's agent.
//
// The host is the client and opens every stream; there is no push. It also speaks first: a guest
// sends nothing and skips what comes until it reads a client's preface, so that a machine whose
// snapshot was taken meanwhile can be greeted anew on the transport that it has. Each side trusts
// the other with nothing: a header block has at most kMaxHeaderBytes, what waits to be read is
// bounded by the stream's window, what waits to be sent by whoever asks Stream::buffered before it
// writes. A peer that breaks the protocol ends the session with one sentence, and every stream of
// it. One thread, the event loop's.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>

#include "writ/backends/microvm/event_loop.h"
#include "writ/base/result.h"
#include "writ/base/unique_fd.h"

struct nghttp2_session;

namespace writ::backends::microvm {

inline constexpr std::size_t kMaxHeaderBytes = 4096;
inline constexpr std::uint32_t kMaxStreams = 256;  // at once
inline constexpr std::size_t kStreamWindow = 256 * 1024;
inline constexpr std::size_t kSendHighWater = 256 * 1024;  // above it a writer waits for on_drained

class Session;
struct SessionCallbacks;

// One exchange: bytes both ways, each with its own end. Owned by the session and by whoever holds
// it; after on_closed every call does nothing.
class Stream {
 public:
  std::function<void(int status)> on_status;             // host: the answer's head; once
  std::function<void(std::string_view bytes)> on_bytes;  // give back with Consumed
  std::function<void()> on_end;                          // the peer's last byte has come
  std::function<void()> on_drained;                      // buffered() has become 0
  std::function<void()> on_closed;                       // once; the stream is gone

  void Answer(int status);  // guest, once, before Write
  void Write(std::string_view bytes);
  void Finish();  // no byte comes after what was written
  void Reset();   // gives the stream up at once
  void Consumed(std::size_t bytes);
  std::size_t buffered() const { return out_.size() - out_at_; }
  bool open() const { return session_ != nullptr; }
  const std::string& path() const { return path_; }

 private:
  friend class Session;
  friend struct SessionCallbacks;
  void Forget();                // closed, and without callbacks: they may hold the stream itself
  Session* session_ = nullptr;  // nullptr: closed
  std::int32_t id_ = 0;
  std::string path_;
  std::string token_;
  std::size_t header_bytes_ = 0;
  int status_ = 0;
  std::string out_;
  std::size_t out_at_ = 0;
  std::size_t unconsumed_ = 0;  // of what came
  bool finished_ = false;       // Finish was called
  bool ended_ = false;          // on_end was told
};

class Session {
 public:
  enum class Side { kHost, kGuest };
  struct Events {
    // Guest: a request with the right token; sets the stream's callbacks and answers.
    std::function<void(const std::shared_ptr<Stream>&)> on_request;
    // Once: the transport is at its end, or the peer broke the protocol. Never from within Make.
    std::function<void(const std::string& reason)> on_closed;
  };
  // `transport` is made non-blocking. `token`: what every request carries.
  static Result<std::unique_ptr<Session>> Make(EventLoop& loop, UniqueFd transport, Side side,
                                               std::string token, Events events);
  ~Session();
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;

  // Host. The stream's callbacks are set before the loop runs again.
  Result<std::shared_ptr<Stream>> Request(std::string_view path);
  // Guest: the token that requests carry from now on.
  void SetToken(std::string token) { token_ = std::move(token); }
  // Host: asks for a sign of life; `answered` is called when it came.
  void Ping(std::function<void()> answered);
  bool closed() const { return closed_; }

 private:
  friend class Stream;
  friend struct SessionCallbacks;
  Session(EventLoop& loop, UniqueFd transport, Side side, std::string token, Events events);
  Status Start();
  void OnTransport(short events);
  bool ReadSome();
  // Guest: what of `bytes` belongs to the session; looks for its start.
  std::string AfterPreface(std::string_view bytes);
  void Send();  // frames that are due, as far as the transport takes them
  void SendSoon();
  void Close(const std::string& reason);
  std::shared_ptr<Stream> Find(std::int32_t id) const;
  void Drop(std::int32_t id);

  EventLoop& loop_;
  UniqueFd transport_;
  const Side side_;
  std::string token_;
  Events events_;
  nghttp2_session* session_ = nullptr;
  EventLoop::WatchId watch_ = 0;
  EventLoop::WatchId soon_ = 0;
  std::map<std::int32_t, std::shared_ptr<Stream>> streams_;
  bool greeted_;          // guest: the preface was read
  std::string skipping_;  // what may be the preface's start
  std::size_t skipped_ = 0;
  std::string pending_;  // frames on their way out
  std::size_t pending_at_ = 0;
  std::function<void()> pinged_;
  std::string why_;  // said by a callback that refuses
  bool closed_ = false;
};

}  // namespace writ::backends::microvm
