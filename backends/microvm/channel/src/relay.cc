#include "writ/backends/microvm/relay.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <utility>

namespace writ::backends::microvm {
namespace {

constexpr std::size_t kReadBytes = 64 * 1024;

class Relay : public std::enable_shared_from_this<Relay> {
 public:
  Relay(EventLoop& loop, UniqueFd fd, std::shared_ptr<Stream> stream, Ways ways,
        std::function<void()> done, std::shared_ptr<RelayCount> count)
      : loop_(loop),
        fd_(std::move(fd)),
        stream_(std::move(stream)),
        done_(std::move(done)),
        count_(std::move(count)),
        reading_(ways != Ways::kToFd),
        writing_(ways != Ways::kToStream) {}

  void Start() {
    ::fcntl(fd_.get(), F_SETFL, ::fcntl(fd_.get(), F_GETFL) | O_NONBLOCK);
    auto self = shared_from_this();
    if (writing_) {
      stream_->on_bytes = [self](std::string_view bytes) { self->OnBytes(bytes); };
      stream_->on_end = [self] {
        self->ended_ = true;
        self->WriteSome();
      };
    }
    stream_->on_drained = [self] { self->Poll(); };
    stream_->on_closed = [self] { self->OnClosed(); };
    watch_ = loop_.Add(fd_.get(), 0, [self](short events) { self->OnReady(events); });
    if (!reading_) stream_->Finish();
    Poll();
  }

 private:
  void Poll() {
    if (!fd_) return;
    short events = 0;
    if (reading_ && stream_->open() && stream_->buffered() < kSendHighWater) events |= POLLIN;
    if (writing_ && !in_.empty()) events |= POLLOUT;
    loop_.SetEvents(watch_, events);
  }

  void OnReady(short events) {
    if (reading_ && (events & (POLLIN | POLLHUP | POLLERR)) != 0) ReadSome();
    if (fd_ && writing_ && (events & (POLLOUT | POLLERR)) != 0) WriteSome();
    Poll();
  }

  void ReadSome() {
    std::array<char, kReadBytes> buffer{};
    const ssize_t count = ::read(fd_.get(), buffer.data(), buffer.size());
    if (count < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (count > 0) {
      stream_->Write({buffer.data(), static_cast<std::size_t>(count)});
      return Count(static_cast<std::size_t>(count));
    }
    reading_ = false;
    if (count < 0)
      stream_->Reset();
    else
      stream_->Finish();
    End();
  }

  void OnBytes(std::string_view bytes) {
    if (!fd_ || !writing_) return stream_->Consumed(bytes.size());
    in_.append(bytes);
    WriteSome();
    Poll();
  }

  void WriteSome() {
    if (!fd_) return;
    while (!in_.empty()) {
      const ssize_t count = ::send(fd_.get(), in_.data(), in_.size(), MSG_NOSIGNAL);
      const ssize_t done =
          count < 0 && errno == ENOTSOCK ? ::write(fd_.get(), in_.data(), in_.size()) : count;
      if (done < 0 && errno == EINTR) continue;
      if (done < 0 && errno == EAGAIN) return Poll();
      if (done < 0) {  // nobody reads any more: the rest is taken and thrown away
        stream_->Consumed(in_.size());
        in_.clear();
        writing_ = false;
        return End();
      }
      in_.erase(0, static_cast<std::size_t>(done));
      stream_->Consumed(static_cast<std::size_t>(done));
      Count(static_cast<std::size_t>(done));
      if (!fd_) return;  // whoever counts may have ended it
    }
    if (!ended_) return;
    ::shutdown(fd_.get(), SHUT_WR);
    writing_ = false;
    End();
  }

  void Count(std::size_t bytes) {
    if (!count_) return;
    count_->bytes += bytes;
    TellCount();
  }
  void TellCount() {
    auto call = count_->changed;  // a copy: it may be taken away while it runs
    if (call) call();
  }

  // The stream is gone: what came before that still goes out, where its end was told.
  void OnClosed() {
    reading_ = false;
    if (!ended_) {
      in_.clear();
      writing_ = false;
    }
    End();
  }

  void End() {
    if (!fd_ || reading_ || (writing_ && (!in_.empty() || stream_->open()))) return;
    auto self = shared_from_this();
    loop_.Remove(watch_);
    fd_.reset();
    stream_->on_bytes = nullptr;
    stream_->on_end = nullptr;
    stream_->on_drained = nullptr;
    stream_->on_closed = nullptr;
    if (count_) {
      count_->done = true;
      TellCount();
    }
    if (auto done = std::exchange(done_, nullptr)) done();
  }

  EventLoop& loop_;
  UniqueFd fd_;
  std::shared_ptr<Stream> stream_;
  std::function<void()> done_;
  std::shared_ptr<RelayCount> count_;  // may be empty
  bool reading_;
  bool writing_;
  bool ended_ = false;  // the stream's last byte is in in_
  std::string in_;
  EventLoop::WatchId watch_ = 0;
};

}  // namespace

void StartRelay(EventLoop& loop, UniqueFd fd, std::shared_ptr<Stream> stream, Ways ways,
                std::function<void()> done, std::shared_ptr<RelayCount> count) {
  std::make_shared<Relay>(loop, std::move(fd), std::move(stream), ways, std::move(done),
                          std::move(count))
      ->Start();
}

}  // namespace writ::backends::microvm
