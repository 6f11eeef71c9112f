#include "unit/runner/raw_server.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>

#include "writ/base/encoding.h"

namespace writ::test {

struct RawServer::Tls {
  SSL_CTX* context = nullptr;
};

namespace {

void Require(bool ok) {
  if (!ok) std::abort();
}

std::string Pem(const std::function<int(BIO*)>& write) {
  BIO* bio = BIO_new(BIO_s_mem());
  Require(write(bio) == 1);
  char* data = nullptr;
  long size = BIO_get_mem_data(bio, &data);
  std::string text(data, static_cast<std::size_t>(size));
  BIO_free(bio);
  return text;
}

}  // namespace

RawServer::RawServer(Security security, Handler handler)
    : security_(security), handler_(std::move(handler)) {
  std::signal(SIGPIPE, SIG_IGN);
  if (security_ == Security::kTls) {
    EVP_PKEY* key = EVP_EC_gen("P-256");
    X509* cert = X509_new();
    ASN1_INTEGER_set(X509_get_serialNumber(cert), 1);
    X509_set_version(cert, 2);
    X509_gmtime_adj(X509_getm_notBefore(cert), -3600);
    X509_gmtime_adj(X509_getm_notAfter(cert), 86400);
    X509_set_pubkey(cert, key);
    X509_NAME_add_entry_by_txt(X509_get_subject_name(cert), "CN", MBSTRING_ASC,
                               reinterpret_cast<const unsigned char*>("test plane"), -1, -1, 0);
    X509_set_issuer_name(cert, X509_get_subject_name(cert));
    X509_EXTENSION* san =
        X509V3_EXT_conf_nid(nullptr, nullptr, NID_subject_alt_name, "IP:127.0.0.1");
    X509_add_ext(cert, san, -1);
    X509_EXTENSION_free(san);
    Require(X509_sign(cert, key, EVP_sha256()) > 0);
    certificate_pem_ = Pem([&](BIO* bio) { return PEM_write_bio_X509(bio, cert); });
    unsigned char* der = nullptr;
    int size = i2d_PUBKEY(key, &der);
    Require(size > 0);
    unsigned char digest[32];
    unsigned length = 0;
    Require(EVP_Digest(der, static_cast<std::size_t>(size), digest, &length, EVP_sha256(),
                       nullptr) == 1);
    OPENSSL_free(der);
    pin_ = "sha256//" + Base64Encode(std::string_view(reinterpret_cast<char*>(digest), 32));
    tls_ = new Tls;
    tls_->context = SSL_CTX_new(TLS_server_method());
    Require(SSL_CTX_use_certificate(tls_->context, cert) == 1 &&
            SSL_CTX_use_PrivateKey(tls_->context, key) == 1);
    X509_free(cert);
    EVP_PKEY_free(key);
  }
  listener_ = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  Require(bind(listener_, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0 &&
          listen(listener_, 64) == 0);
  socklen_t size = sizeof address;
  getsockname(listener_, reinterpret_cast<sockaddr*>(&address), &size);
  port_ = ntohs(address.sin_port);
  thread_ = std::thread([this] { Serve(); });
}

RawServer::~RawServer() {
  stopping_ = true;
  thread_.join();
  close(listener_);
  if (tls_ != nullptr) SSL_CTX_free(tls_->context);
  delete tls_;
}

std::string RawServer::url() const {
  return std::string(security_ == Security::kTls ? "https" : "http") +
         "://127.0.0.1:" + std::to_string(port_);
}

void RawServer::Serve() {
  while (!stopping_) {
    pollfd ready{listener_, POLLIN, 0};
    if (poll(&ready, 1, 50) <= 0) continue;
    int fd = accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC);
    if (fd < 0) continue;
    ++connections_;
    timeval limit{5, 0};
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    SSL* ssl = nullptr;
    if (tls_ != nullptr) {
      ssl = SSL_new(tls_->context);
      SSL_set_fd(ssl, fd);
      if (SSL_accept(ssl) != 1) {
        SSL_free(ssl);
        close(fd);
        continue;
      }
    }
    auto receive = [&](char* to, int n) {
      return ssl != nullptr ? SSL_read(ssl, to, n)
                            : static_cast<int>(recv(fd, to, static_cast<std::size_t>(n), 0));
    };
    Connection connection;
    char buffer[65536];
    std::size_t want = std::string::npos;
    while (connection.request.size() < want) {
      int n = receive(buffer, sizeof buffer);
      if (n <= 0) break;
      connection.request.append(buffer, static_cast<std::size_t>(n));
      std::size_t head = connection.request.find("\r\n\r\n");
      if (head == std::string::npos) continue;
      std::size_t at = connection.request.find("Content-Length: ");
      want = head + 4 +
             (at != std::string::npos && at < head
                  ? static_cast<std::size_t>(std::atoll(connection.request.c_str() + at + 16))
                  : 0);
    }
    connection.write = [&](std::string_view bytes) {
      while (!bytes.empty() && !stopping_) {
        auto n = ssl != nullptr
                     ? SSL_write(ssl, bytes.data(), static_cast<int>(bytes.size()))
                     : static_cast<int>(send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL));
        if (n <= 0) return false;
        bytes.remove_prefix(static_cast<std::size_t>(n));
      }
      return !stopping_;
    };
    if (!connection.request.empty()) handler_(connection);
    if (ssl != nullptr) {
      SSL_shutdown(ssl);
      SSL_free(ssl);
    }
    shutdown(fd, SHUT_WR);
    while (recv(fd, buffer, sizeof buffer, 0) > 0) {
    }
    close(fd);
  }
}

std::string JsonAnswer(int status, std::string_view body) {
  return "HTTP/1.1 " + std::to_string(status) +
         " X\r\nContent-Type: application/json\r\nContent-Length: " + std::to_string(body.size()) +
         "\r\nDate: Sun, 22 Nov 2026 08:35:15 GMT\r\nConnection: close\r\n\r\n" + std::string(body);
}

}  // namespace writ::test
