#include "resolver.h"

#include <arpa/nameser.h>
#include <netdb.h>
#include <netinet/in.h>
#include <resolv.h>
#include <sys/socket.h>

#include <algorithm>
#include <asio/post.hpp>
#include <asio/redirect_error.hpp>
#include <asio/steady_timer.hpp>
#include <asio/use_awaitable.hpp>
#include <cstring>

namespace writ::egress {
namespace {

constexpr int kThreads = 4;
constexpr std::size_t kMaxWaiting = 256;

void AskLibc(const std::string& name, Resolver::Answer& answer) {
  addrinfo hints{};
  hints.ai_family = AF_UNSPEC;
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* list = nullptr;
  if (::getaddrinfo(name.c_str(), nullptr, &hints, &list) != 0) return;
  for (addrinfo* entry = list; entry != nullptr; entry = entry->ai_next) {
    IpAddress address;
    if (entry->ai_family == AF_INET) {
      sockaddr_in v4;
      std::memcpy(&v4, entry->ai_addr, sizeof v4);
      std::memcpy(address.bytes.data(), &v4.sin_addr, 4);
    } else if (entry->ai_family == AF_INET6) {
      sockaddr_in6 v6;
      std::memcpy(&v6, entry->ai_addr, sizeof v6);
      address.family = IpAddress::Family::kV6;
      std::memcpy(address.bytes.data(), &v6.sin6_addr, 16);
    } else {
      continue;
    }
    if (std::find(answer.addresses.begin(), answer.addresses.end(), address) ==
        answer.addresses.end())
      answer.addresses.push_back(address);
  }
  ::freeaddrinfo(list);
  if (!answer.addresses.empty()) answer.status = Resolver::Answer::Status::kFound;
}

}  // namespace

// Shared by the asking coroutine and a thread; `answer` is the thread's until `done` is set on the
// loop.
struct Resolver::Lookup {
  Lookup(asio::io_context& io, std::string n) : name(std::move(n)), timer(io) {}
  std::string name;
  asio::steady_timer timer;
  Answer answer;
  bool done = false;
};

Resolver::Resolver(asio::io_context& io) : io_(io) {
  for (int i = 0; i < kThreads; ++i) threads_.emplace_back([this] { Work(); });
}

void Resolver::Work() {
  // No search list: the name that was allowed is the name that is asked. The state is this
  // thread's.
  if (::res_init() == 0) _res.options &= ~static_cast<unsigned long>(RES_DNSRCH | RES_DEFNAMES);
  for (;;) {
    std::shared_ptr<Lookup> lookup;
    {
      std::unique_lock lock(mutex_);
      wake_.wait(lock, [&] { return !waiting_.empty(); });
      lookup = std::move(waiting_.front());
      waiting_.pop_front();
    }
    AskLibc(lookup->name, lookup->answer);
    asio::post(io_, [lookup] {
      lookup->done = true;
      lookup->timer.cancel();
    });
  }
}

asio::awaitable<Resolver::Answer> Resolver::Resolve(std::string name,
                                                    std::chrono::milliseconds deadline) {
  auto lookup = std::make_shared<Lookup>(io_, std::move(name));
  {
    std::lock_guard lock(mutex_);
    if (waiting_.size() >= kMaxWaiting) co_return Answer{Answer::Status::kBusy, {}};
    waiting_.push_back(lookup);
  }
  wake_.notify_one();
  lookup->timer.expires_after(deadline);
  asio::error_code ignored;
  co_await lookup->timer.async_wait(asio::redirect_error(asio::use_awaitable, ignored));
  if (!lookup->done) co_return Answer{Answer::Status::kLate, {}};
  co_return lookup->answer;
}

}  // namespace writ::egress
