// Tar archives and OCI image layouts, byte by byte, sound and hostile ones.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace writ::test {

// One header of 512 bytes and the content. `type`: '0' file, '1' hard link, '2' symbolic link,
// '3' character device, '5' directory, '6' FIFO.
struct TarMember {
  std::string name;
  char type = '0';
  std::string content{};
  std::string link{};
  unsigned mode = 0644;
};
// Names and targets longer than the header's 100 bytes come in a pax header before it.
std::string MakeTar(const std::vector<TarMember>& members);
std::string Gzip(const std::string& bytes);

inline TarMember Dir(std::string name, unsigned mode = 0755) {
  return {std::move(name), '5', {}, {}, mode};
}
inline TarMember File(std::string name, std::string content, unsigned mode = 0644) {
  return {std::move(name), '0', std::move(content), {}, mode};
}
inline TarMember Link(std::string name, std::string target) {
  return {std::move(name), '2', {}, std::move(target)};
}
inline TarMember HardLink(std::string name, std::string target) {
  return {std::move(name), '1', {}, std::move(target)};
}

struct LayerBytes {
  std::string stored;  // as the blob has it
  std::string tar;     // as the diff id has it
};
LayerBytes Plain(const std::vector<TarMember>& members);
LayerBytes Zipped(const std::vector<TarMember>& members);

struct ImageFile {
  std::string name;
  std::string bytes;
};
// The files of an OCI layout with one image, `oci-layout` and index.json included.
std::vector<ImageFile> OciFiles(const std::vector<LayerBytes>& layers);
std::vector<ImageFile> DockerFiles(const std::vector<LayerBytes>& layers, const std::string& tag);
void WriteFiles(const std::string& dir, const std::vector<ImageFile>& files);
std::string TarOf(const std::vector<ImageFile>& files);

}  // namespace writ::test
