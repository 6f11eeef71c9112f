#include "archive_maker.h"

#include <zlib.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "writ/backends/image/oci_documents.h"
#include "writ/protocol/digest.h"
#include "writ/protocol/json.h"

namespace writ::test {
namespace {

constexpr std::size_t kBlock = 512;

void Octal(std::string& header, std::size_t at, std::size_t width, std::uint64_t value) {
  char text[16];
  std::snprintf(text, sizeof text, "%0*llo", static_cast<int>(width - 1),
                static_cast<unsigned long long>(value));
  header.replace(at, width - 1, text, width - 1);
}

std::string Padded(std::string bytes) {
  bytes.resize((bytes.size() + kBlock - 1) / kBlock * kBlock, '\0');
  return bytes;
}

std::string Header(const TarMember& member) {
  std::string header(kBlock, '\0');
  header.replace(0, std::min<std::size_t>(100, member.name.size()), member.name.substr(0, 100));
  Octal(header, 100, 8, member.mode);
  Octal(header, 108, 8, 0);
  Octal(header, 116, 8, 0);
  Octal(header, 124, 12, member.content.size());
  Octal(header, 136, 12, 1'700'000'000);
  header.replace(148, 8, "        ");
  header[156] = member.type;
  header.replace(157, std::min<std::size_t>(100, member.link.size()), member.link.substr(0, 100));
  header.replace(257, 8,
                 std::string("ustar\0"
                             "00",
                             8));
  if (member.type == '3') {
    Octal(header, 329, 8, 1);
    Octal(header, 337, 8, 3);
  }
  unsigned sum = 0;
  for (unsigned char c : header) sum += c;
  Octal(header, 148, 7, sum);
  return header;
}

std::string PaxRecord(const std::string& key, const std::string& value) {
  const std::string rest = " " + key + "=" + value + "\n";
  std::size_t size = rest.size() + 1;
  while (std::to_string(size).size() + rest.size() != size) ++size;
  return std::to_string(size) + rest;
}

json::Object DescriptorOf(const char* type, const std::string& bytes) {
  return json::Object{{"mediaType", std::string("application/vnd.oci.image.") + type},
                      {"digest", backends::image::ImageDigestText(protocol::Sha256(bytes))},
                      {"size", bytes.size()}};
}

std::string ConfigOf(const std::vector<LayerBytes>& layers) {
  json::Array ids;
  for (const LayerBytes& layer : layers)
    ids.push_back(backends::image::ImageDigestText(protocol::Sha256(layer.tar)));
  return json::Write(
      json::Object{{"os", "linux"},
                   {"architecture", std::string(backends::image::HostArchitecture())},
                   {"config", json::Object{{"Env", json::Array{"PATH=/bin"}}}},
                   {"rootfs", json::Object{{"type", "layers"}, {"diff_ids", std::move(ids)}}}});
}

}  // namespace

std::string MakeTar(const std::vector<TarMember>& members) {
  std::string out;
  for (const TarMember& member : members) {
    std::string records;
    if (member.name.size() > 100) records += PaxRecord("path", member.name);
    if (member.link.size() > 100) records += PaxRecord("linkpath", member.link);
    if (!records.empty()) out += Header({"pax", 'x', records}) + Padded(records);
    out += Header(member) + Padded(member.content);
  }
  return out + std::string(2 * kBlock, '\0');
}

std::string Gzip(const std::string& bytes) {
  z_stream stream{};
  if (::deflateInit2(&stream, 9, Z_DEFLATED, 15 + 16, 9, Z_DEFAULT_STRATEGY) != Z_OK) std::abort();
  std::string out(::deflateBound(&stream, bytes.size()) + 64, '\0');
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(bytes.data()));
  stream.avail_in = static_cast<uInt>(bytes.size());
  stream.next_out = reinterpret_cast<Bytef*>(out.data());
  stream.avail_out = static_cast<uInt>(out.size());
  if (::deflate(&stream, Z_FINISH) != Z_STREAM_END) std::abort();
  out.resize(stream.total_out);
  ::deflateEnd(&stream);
  return out;
}

LayerBytes Plain(const std::vector<TarMember>& members) {
  const std::string tar = MakeTar(members);
  return {tar, tar};
}
LayerBytes Zipped(const std::vector<TarMember>& members) {
  const std::string tar = MakeTar(members);
  return {Gzip(tar), tar};
}

std::vector<ImageFile> OciFiles(const std::vector<LayerBytes>& layers) {
  std::vector<ImageFile> files = {{"oci-layout", R"({"imageLayoutVersion":"1.0.0"})"}};
  auto blob = [&files](const std::string& bytes) {
    files.push_back({"blobs/sha256/" + protocol::Sha256(bytes).ToHex(), bytes});
  };
  json::Array list;
  for (const LayerBytes& layer : layers) {
    list.push_back(DescriptorOf("layer.v1.tar", layer.stored));
    blob(layer.stored);
  }
  const std::string config = ConfigOf(layers);
  blob(config);
  const std::string manifest =
      json::Write(json::Object{{"schemaVersion", 2},
                               {"config", DescriptorOf("config.v1+json", config)},
                               {"layers", std::move(list)}});
  blob(manifest);
  files.push_back(
      {"index.json", json::Write(json::Object{
                         {"schemaVersion", 2},
                         {"manifests", json::Array{DescriptorOf("manifest.v1+json", manifest)}}})});
  return files;
}

std::vector<ImageFile> DockerFiles(const std::vector<LayerBytes>& layers, const std::string& tag) {
  std::vector<ImageFile> files;
  json::Array names;
  for (const LayerBytes& layer : layers) {
    const std::string name = protocol::Sha256(layer.tar).ToHex() + "/layer.tar";
    names.push_back(name);
    files.push_back({name, layer.stored});
  }
  files.push_back({"config.json", ConfigOf(layers)});
  files.push_back(
      {"manifest.json", json::Write(json::Array{json::Object{{"Config", "config.json"},
                                                             {"RepoTags", json::Array{tag}},
                                                             {"Layers", std::move(names)}}})});
  return files;
}

void WriteFiles(const std::string& dir, const std::vector<ImageFile>& files) {
  for (const ImageFile& file : files) {
    const std::filesystem::path path = std::filesystem::path(dir) / file.name;
    std::filesystem::create_directories(path.parent_path());
    std::ofstream(path, std::ios::binary) << file.bytes;
  }
}

std::string TarOf(const std::vector<ImageFile>& files) {
  std::vector<TarMember> members;
  for (const ImageFile& file : files) members.push_back(File(file.name, file.bytes));
  return MakeTar(members);
}

}  // namespace writ::test
