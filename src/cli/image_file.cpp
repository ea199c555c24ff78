#include "cli/image_file.h"

#include <openssl/evp.h>

#include "base/check.h"
#include "base/text.h"

namespace ebb {
namespace {

constexpr std::size_t read_bytes = 1 * MiB;

// ELF-64 file header and program header.
constexpr std::size_t elf_header_bytes = 64, program_header_bytes = 56;
constexpr std::uint16_t elf_machine_x86_64 = 62;
constexpr std::uint32_t segment_load = 1;

// ext2/3/4: the superblock is at 1024 (kernel.org, Documentation/filesystems/ext4/super.rst).
constexpr std::size_t superblock_offset = 1024, superblock_bytes = 1024;
constexpr std::uint16_t ext_magic = 0xEF53;
constexpr std::uint32_t incompat_64bit = 0x80;

}  // namespace

Task<Result<ImageFile>> open_image_file(Files& files, std::string path) {
  auto file = co_await files.open(path, OpenMode::read);
  // Bad input of ours, not a record that the control plane lacks.
  if (!file) co_return fail(Code::invalid, "cannot open {}: {}", path, file.error().message);
  ImageFile opened{std::move(*file), path, 0, ""};
  EBB_CO_TRY(size, co_await opened.file->size());
  if (size == 0) co_return fail(Code::invalid, "{} is empty", path);
  opened.size_bytes = size;
  co_return opened;
}

Task<Status> check_kernel(ImageFile& kernel) {
  EBB_CO_TRY(header, co_await kernel.file->read(0, elf_header_bytes));
  if (header.size() < elf_header_bytes || as_text(header).substr(0, 4) !=
                                              "\x7f"
                                              "ELF") {
    co_return fail(Code::invalid, "{} is not an ELF kernel: give the unpacked vmlinux, not a bzImage",
                   kernel.path);
  }
  if (header[4] != std::byte{2} || load_le<std::uint16_t>(header, 18) != elf_machine_x86_64) {
    co_return fail(Code::invalid, "{} is not a 64-bit x86 kernel", kernel.path);
  }
  auto table_offset = load_le<std::uint64_t>(header, 32);
  std::uint64_t entry_bytes = load_le<std::uint16_t>(header, 54),
                entries = load_le<std::uint16_t>(header, 56);
  if (entries == 0 || entry_bytes < program_header_bytes) {
    co_return fail(Code::invalid, "{} has no program headers: it is not a bootable kernel", kernel.path);
  }
  auto table_bytes = entry_bytes * entries;
  if (table_offset > kernel.size_bytes || table_bytes > kernel.size_bytes - table_offset) {
    co_return fail(Code::invalid, "{} is truncated: its program headers end at byte {}, the file at {}",
                   kernel.path, table_offset + table_bytes, kernel.size_bytes);
  }
  EBB_CO_TRY(table, co_await kernel.file->read(table_offset, table_bytes));
  if (table.size() < table_bytes) co_return fail(Code::invalid, "{} is truncated", kernel.path);
  for (std::uint64_t i = 0; i < entries; ++i) {
    auto at = i * entry_bytes;
    if (load_le<std::uint32_t>(table, at) != segment_load) continue;
    auto offset = load_le<std::uint64_t>(table, at + 8), bytes = load_le<std::uint64_t>(table, at + 32);
    if (offset > kernel.size_bytes || bytes > kernel.size_bytes - offset) {
      co_return fail(Code::invalid, "{} is truncated: it names {} bytes at {}, but the file ends at {}",
                     kernel.path, bytes, offset, kernel.size_bytes);
    }
  }
  co_return Status{};
}

Task<Status> check_raw_disk(ImageFile& disk) {
  if (disk.size_bytes % 4096 != 0) {
    co_return fail(Code::invalid,
                   "{} has {} bytes, which is not a multiple of 4096: is it truncated, or not a raw disk?",
                   disk.path, disk.size_bytes);
  }
  EBB_CO_TRY(start, co_await disk.file->read(0, superblock_offset + superblock_bytes));
  if (as_text(start).starts_with("QFI\xfb")) {
    co_return fail(Code::invalid, "{} is a qcow2 image: convert it with 'qemu-img convert -O raw'",
                   disk.path);
  }
  if (start.size() < superblock_offset + superblock_bytes)
    co_return fail(Code::invalid, "{} is truncated", disk.path);
  auto block = ByteView(start).subspan(superblock_offset);
  if (load_le<std::uint16_t>(block, 56) != ext_magic) co_return Status{};
  std::uint64_t blocks = load_le<std::uint32_t>(block, 4);
  if (load_le<std::uint32_t>(block, 96) & incompat_64bit) {
    blocks |= std::uint64_t{load_le<std::uint32_t>(block, 336)} << 32;
  }
  auto log_block_bytes = load_le<std::uint32_t>(block, 24);
  if (log_block_bytes > 6) co_return Status{};  // not an ext superblock after all: blocks have at most 64 KiB
  auto block_bytes = std::uint64_t{1024} << log_block_bytes;
  if (blocks > disk.size_bytes / block_bytes) {
    co_return fail(Code::invalid,
                   "{} is truncated: its file system has {} blocks of {} bytes, the file only {}", disk.path,
                   blocks, block_bytes, format_size(disk.size_bytes));
  }
  co_return Status{};
}

Task<Status> check_boots_by_itself(ImageFile& disk) {
  constexpr std::size_t sector = 512, boot_signature = 510, gpt_last = 32;  // UEFI specification 2.10, 5.3.2
  EBB_CO_TRY(start, co_await disk.file->read(0, 2 * sector));
  const auto text = as_text(start);
  using namespace std::string_view_literals;
  constexpr std::pair<std::string_view, const char*> packed[] = {{"\x1f\x8b"sv, "gzip"},
                                                                 {"\xfd"
                                                                  "7zXZ"sv,
                                                                  "xz"},
                                                                 {"\x28\xb5\x2f\xfd"sv, "zstd"},
                                                                 {"KDMV"sv, "VMDK"},
                                                                 {"vhdxfile"sv, "VHDX"}};
  for (const auto& [magic, name] : packed)
    if (text.starts_with(magic))
      co_return fail(Code::invalid,
                     "{} is a {} file: unpack it, or convert it with 'qemu-img convert -O raw', first",
                     disk.path, name);
  if (text.substr(boot_signature, 2) != "\x55\xaa")
    co_return fail(Code::invalid,
                   "{} has no boot sector: it does not boot by itself; give its kernel with --kernel",
                   disk.path);
  if (!text.substr(sector).starts_with("EFI PART")) co_return Status{};
  const auto last = load_le<std::uint64_t>(start, sector + gpt_last);
  if (last >= disk.size_bytes / sector)
    co_return fail(Code::invalid, "{} is truncated: its partition table ends at sector {}, the file at {}",
                   disk.path, last, disk.size_bytes / sector);
  co_return Status{};
}

Task<Status> hash_image_file(ImageFile& file, std::function<void(std::uint64_t)> on_bytes) {
  std::unique_ptr<EVP_MD_CTX, decltype(&EVP_MD_CTX_free)> digest(EVP_MD_CTX_new(), EVP_MD_CTX_free);
  CHECK(digest && EVP_DigestInit_ex(digest.get(), EVP_sha256(), nullptr) == 1);
  for (std::uint64_t offset = 0; offset < file.size_bytes;) {
    EBB_CO_TRY(bytes, co_await file.file->read(offset, read_bytes));
    if (bytes.empty()) co_return fail(Code::invalid, "{} became shorter while it was read", file.path);
    CHECK(EVP_DigestUpdate(digest.get(), bytes.data(), bytes.size()) == 1);
    offset += bytes.size();
    on_bytes(bytes.size());
  }
  std::array<unsigned char, EVP_MAX_MD_SIZE> sum{};
  unsigned int length = 0;
  CHECK(EVP_DigestFinal_ex(digest.get(), sum.data(), &length) == 1);
  file.sha256 = to_hex({reinterpret_cast<const char*>(sum.data()), length});
  co_return Status{};
}

}  // namespace ebb
