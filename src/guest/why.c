/* SPDX-License-Identifier: Apache-2.0 */
#include "guest/why.h"

#include "util/cleanup.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    FIRST_BYTES = 4096,
    INTERPRETER_MAX = 256,
    PROGRAM_HEADERS_MAX = 64,
};

/* The file is the guest's and can hold anything; it is read with pread only, at checked sizes. */
struct program {
    int fd;
    char first[FIRST_BYTES + 1];
    size_t size;
};

static bool is_script(const struct program *program)
{
    return program->size > 2 && program->first[0] == '#' && program->first[1] == '!';
}

static bool is_elf(const struct program *program)
{
    return program->size >= sizeof(Elf64_Ehdr) && memcmp(program->first, ELFMAG, SELFMAG) == 0;
}

/* `#! /usr/bin/env sh`: the word after the mark. */
static bool script_interpreter(const struct program *program, char *name, size_t size)
{
    const char *begin = program->first + 2 + strspn(program->first + 2, " \t");
    size_t length = strcspn(begin, " \t\r\n");

    if (length == 0 || length >= size)
        return false;
    /* A line that ends in CR LF: the kernel takes the CR for a part of the name, and that is the reason. */
    if (begin[length] == '\r' && length + 2 < size) {
        snprintf(name, size, "%.*s\\r", (int)length, begin);
        return true;
    }
    snprintf(name, size, "%.*s", (int)length, begin);
    return true;
}

static bool elf_interpreter(const struct program *program, char *name, size_t size)
{
    Elf64_Ehdr header;

    memcpy(&header, program->first, sizeof(header));
    if (header.e_ident[EI_CLASS] != ELFCLASS64 || header.e_phentsize != sizeof(Elf64_Phdr))
        return false;
    for (unsigned i = 0; i < header.e_phnum && i < PROGRAM_HEADERS_MAX; i++) {
        Elf64_Phdr segment;

        if (pread(program->fd, &segment, sizeof(segment), (off_t)(header.e_phoff + i * sizeof(segment))) != sizeof(segment))
            return false;
        if (segment.p_type != PT_INTERP)
            continue;
        if (segment.p_filesz == 0 || segment.p_filesz > size)
            return false;
        if (pread(program->fd, name, segment.p_filesz, (off_t)segment.p_offset) != (ssize_t)segment.p_filesz)
            return false;
        name[segment.p_filesz - 1] = '\0';
        return true;
    }
    return false;
}

static void explain_missing(const struct program *program, char *why, size_t size)
{
    char name[INTERPRETER_MAX];

    if (is_script(program) && script_interpreter(program, name, sizeof(name)))
        snprintf(why, size, "its interpreter `%s` is not in the guest", name);
    else if (is_elf(program) && elf_interpreter(program, name, sizeof(name)))
        snprintf(why, size, "its dynamic loader `%s` is not in the guest", name);
    else
        snprintf(why, size, "something that it needs is not in the guest");
}

static void explain_format(const struct program *program, char *why, size_t size)
{
    if (program->size == 0)
        snprintf(why, size, "it is empty");
    else if (is_elf(program))
        snprintf(why, size, "it is a program for another kind of machine");
    else
        snprintf(why, size, "it is neither a program nor a script that begins with #!");
}

bool why_not_executable(const char *path, int error, char *why, size_t size)
{
    struct program program = { .fd = -1 };
    _cleanup_fd_ int fd = -1;
    struct stat status;
    ssize_t n;

    if (stat(path, &status) < 0) {
        if (error == ENOENT || error == ENOTDIR)
            return false;
        snprintf(why, size, "%s", strerror(error));
        return true;
    }
    if (!S_ISREG(status.st_mode)) {
        snprintf(why, size, "%s", S_ISDIR(status.st_mode) ? "it is a directory" : "it is not a regular file");
        return true;
    }
    if (error == EACCES && (status.st_mode & 0111) == 0) {
        snprintf(why, size, "it has no execute permission");
        return true;
    }
    fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    n = fd < 0 ? -1 : pread(fd, program.first, FIRST_BYTES, 0);
    if (n >= 0 && (error == ENOENT || error == ENOEXEC)) {
        program.fd = fd;
        program.size = (size_t)n;
        if (error == ENOENT)
            explain_missing(&program, why, size);
        else
            explain_format(&program, why, size);
        return true;
    }
    snprintf(why, size, "%s", strerror(error));
    return true;
}
