#include "fault/support/unruly_road.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <strings.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdlib>
#include <optional>

#include "writ/base/file.h"

namespace writ::test {
namespace {

constexpr int kPatienceMs = 60'000;
constexpr const char* kLoopback = "127.0.0.1";

sockaddr_in Address(unsigned port) {
  sockaddr_in out{};
  out.sin_family = AF_INET;
  out.sin_port = htons(static_cast<std::uint16_t>(port));
  inet_pton(AF_INET, kLoopback, &out.sin_addr);
  return out;
}

// The value of a header in a request's head, or nothing.
std::optional<std::string> Header(const std::string& head, const std::string& name) {
  std::size_t at = 0;
  while ((at = head.find("\r\n", at)) != std::string::npos) {
    at += 2;
    if (strncasecmp(head.c_str() + at, (name + ":").c_str(), name.size() + 1) != 0) continue;
    std::size_t from = head.find_first_not_of(' ', at + name.size() + 1);
    return head.substr(from, head.find("\r\n", from) - from);
  }
  return std::nullopt;
}

// More bytes of the peer; false at its end, or where it is silent for too long or `stop` is told.
bool More(int fd, int stop, std::string& into) {
  pollfd wait[2] = {{fd, POLLIN, 0}, {stop, POLLIN, 0}};
  if (poll(wait, 2, kPatienceMs) <= 0 || wait[1].revents != 0) return false;
  char buffer[65536];
  const ssize_t n = recv(fd, buffer, sizeof buffer, 0);
  if (n <= 0) return false;
  into.append(buffer, static_cast<std::size_t>(n));
  return true;
}

// One request with its whole body; empty: there is none.
std::string ReadRequest(int fd, int stop) {
  std::string text;
  std::size_t end;
  while ((end = text.find("\r\n\r\n")) == std::string::npos)
    if (!More(fd, stop, text)) return "";
  const std::string head = text.substr(0, end + 2);
  if (Header(head, "Expect") && send(fd, "HTTP/1.1 100 Continue\r\n\r\n", 25, MSG_NOSIGNAL) != 25)
    return "";
  const std::size_t body = end + 4;
  if (auto length = Header(head, "Content-Length")) {
    const std::size_t whole = body + std::strtoull(length->c_str(), nullptr, 10);
    while (text.size() < whole)
      if (!More(fd, stop, text)) return "";
  } else if (Header(head, "Transfer-Encoding")) {
    while (!text.ends_with("0\r\n\r\n"))
      if (!More(fd, stop, text)) return "";
  }
  return text;
}

// The same request, for a connection that ends with its answer and is not asked to wait for it.
std::string ForOneExchange(const std::string& request) {
  const std::size_t end = request.find("\r\n\r\n");
  std::string out;
  for (std::size_t at = 0; at <= end;) {
    const std::size_t next = request.find("\r\n", at) + 2;
    const std::string line = request.substr(at, next - at);
    if (strncasecmp(line.c_str(), "Connection:", 11) != 0 &&
        strncasecmp(line.c_str(), "Expect:", 7) != 0)
      out += line;
    at = next;
  }
  return out + "Connection: close\r\n" + request.substr(end + 2);
}

std::string Answer(const std::string& first_line, const std::string& body) {
  return "HTTP/1.1 " + first_line + "\r\nContent-Type: application/json\r\nConnection: close\r\n" +
         "Content-Length: " + std::to_string(body.size()) + "\r\n\r\n" + body;
}

}  // namespace

const char* RoadWord(RoadDeed deed) {
  switch (deed) {
    case RoadDeed::kDropRequest:
      return "drops_requests";
    case RoadDeed::kDropAnswer:
      return "drops_answers";
    case RoadDeed::kDelay:
      return "delays";
    case RoadDeed::kTwice:
      return "duplicates";
    case RoadDeed::kReorder:
      return "reorders";
    case RoadDeed::kError500:
      return "answers_500";
    case RoadDeed::kTooMany429:
      return "answers_429";
    case RoadDeed::kGarbage:
      return "answers_garbage";
    case RoadDeed::kWrongJson:
      return "answers_with_other_shapes";
    case RoadDeed::kCut:
      return "cuts_answers";
  }
  return "";
}

UnrulyRoad::UnrulyRoad(unsigned seed)
    : listener_(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)),
      stop_(eventfd(0, EFD_CLOEXEC)),
      random_(seed) {
  sockaddr_in address = Address(0);
  socklen_t size = sizeof address;
  if (bind(listener_.get(), reinterpret_cast<sockaddr*>(&address), size) != 0 ||
      listen(listener_.get(), 128) != 0 ||
      getsockname(listener_.get(), reinterpret_cast<sockaddr*>(&address), &size) != 0)
    std::abort();
  port_ = ntohs(address.sin_port);
  server_ = std::jthread([this] { Serve(); });
}

UnrulyRoad::~UnrulyRoad() {
  const std::uint64_t one = 1;
  (void)WriteAll(stop_.get(), std::string_view(reinterpret_cast<const char*>(&one), sizeof one));
  server_.join();
  for (std::thread& exchange : exchanges_) exchange.join();
}

void UnrulyRoad::Behave(std::vector<RoadDeed> deeds, int percent) {
  std::lock_guard lock(mutex_);
  deeds_ = std::move(deeds);
  percent_ = percent;
}

void UnrulyRoad::Serve() {
  for (;;) {
    pollfd wait[2] = {{listener_.get(), POLLIN, 0}, {stop_.get(), POLLIN, 0}};
    if (poll(wait, 2, -1) < 0) continue;
    if (wait[1].revents != 0) return;
    UniqueFd client(accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC));
    if (client) exchanges_.emplace_back([this, fd = client.release()] { Exchange(UniqueFd(fd)); });
  }
}

std::string UnrulyRoad::Forward(const std::string& request) {
  UniqueFd plane(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  const sockaddr_in address = Address(plane_port_);
  std::string answer;
  if (connect(plane.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0 ||
      send(plane.get(), request.data(), request.size(), MSG_NOSIGNAL) !=
          static_cast<ssize_t>(request.size()))
    return answer;
  while (More(plane.get(), stop_.get(), answer)) {
  }
  return answer;
}

std::vector<std::string> UnrulyRoad::HeldRequests() {
  std::lock_guard lock(mutex_);
  std::vector<std::string> out;
  if (held_.size() >= 3) out.swap(held_);  // late, and among others
  return out;
}

void UnrulyRoad::Exchange(UniqueFd client) {
  const std::string came = ReadRequest(client.get(), stop_.get());
  if (came.empty()) return;
  const std::string request = ForOneExchange(came);
  if (request.substr(0, request.find("\r\n")).find("/lease ") != std::string::npos) ++leases_;
  std::optional<RoadDeed> deed;
  unsigned number = 0;
  {
    std::lock_guard lock(mutex_);
    number = static_cast<unsigned>(random_());
    if (!deeds_.empty() && static_cast<int>(random_() % 100) < percent_)
      deed = deeds_[random_() % deeds_.size()];
    // What a HEAD says is its status alone: another would be a lie, which nobody can tell.
    if (deed == RoadDeed::kWrongJson && request.starts_with("HEAD ")) deed.reset();
    if (deed == RoadDeed::kReorder) held_.push_back(request);
  }
  if (deed) ++done_;
  auto linger = [&] {
    pollfd stop{stop_.get(), POLLIN, 0};
    poll(&stop, 1, static_cast<int>(number / 2 % 1500));
  };
  if (deed == RoadDeed::kDropRequest) return;
  std::string answer;
  if (deed == RoadDeed::kError500) {
    answer = Answer("500 Internal Server Error", "{\"error\":\"no\"}");
  } else if (deed == RoadDeed::kTooMany429) {
    answer = Answer("429 Too Many Requests\r\nRetry-After: 1", "{\"error\":\"later\"}");
  } else if (deed == RoadDeed::kGarbage) {
    for (unsigned i = 0; i < 2000; ++i) answer += static_cast<char>((number >> i % 24) * (i + 7));
  } else {
    if (deed == RoadDeed::kDelay && number % 2 == 0) linger();
    answer = Forward(request);
    if (deed == RoadDeed::kDelay && number % 2 != 0) linger();
    if (deed == RoadDeed::kTwice) answer = Forward(request);
    for (const std::string& late : HeldRequests()) (void)Forward(late);
    if (deed == RoadDeed::kDropAnswer) return;
    if (deed == RoadDeed::kCut) answer.resize(answer.size() / 2);
    if (deed == RoadDeed::kWrongJson) {
      constexpr std::array kShapes{"[]", "{}", "null", "{\"runId\":7}", "{\"empty\":\"yes\"}"};
      answer = Answer("200 OK", kShapes[number % kShapes.size()]);
    }
  }
  (void)send(client.get(), answer.data(), answer.size(), MSG_NOSIGNAL);
  shutdown(client.get(), SHUT_WR);
  std::string rest;  // so that the peer reads all of it before a reset
  while (More(client.get(), stop_.get(), rest)) {
  }
}

}  // namespace writ::test
