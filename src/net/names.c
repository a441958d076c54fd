/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The resolver's own names; names.h has the contract, section numbers are those of RFC 1035.
 */
#include "net/names.h"

#include <arpa/inet.h>
#include <arpa/nameser.h>
#include <ctype.h>
#include <string.h>
#include <unistd.h>

enum {
    HEADER_SIZE = 12,
    TTL = 0, /* members come and go */
};

static const char host_name[] = "host.microsandbox.internal";

struct question {
    char name[256]; /* lower-case, with dots between labels */
    uint16_t type, class;
    size_t end; /* behind it in the query */
};

static uint16_t get16(const uint8_t *at)
{
    return (uint16_t)(at[0] << 8 | at[1]);
}

/* The labels of a name (4.1.2), as text. Questions are not compressed. False: malformed, or no text. */
static bool parse_name(const uint8_t *query, size_t size, struct question *question)
{
    size_t at = HEADER_SIZE, length = 0;

    for (;;) {
        uint8_t label = at < size ? query[at++] : 0xff;

        if (label == 0)
            break;
        if (label > 63 || label > size - at || length + label + 2 > sizeof(question->name))
            return false;
        if (length)
            question->name[length++] = '.';
        for (uint8_t i = 0; i < label; i++, at++) {
            if (query[at] == '.' || query[at] == '/' || query[at] == '\0')
                return false;
            question->name[length++] = (char)tolower(query[at]);
        }
    }
    question->name[length] = '\0';
    question->end = at;
    return true;
}

/* One standard query with one question (4.1.1). */
static bool parse_question(const uint8_t *query, size_t size, struct question *question)
{
    if ((query[2] & 0xf8) != 0 || get16(query + 4) != 1)
        return false;
    if (!parse_name(query, size, question) || size - question->end < 4)
        return false;
    question->type = get16(query + question->end);
    question->class = get16(query + question->end + 2);
    question->end += 4;
    return true;
}

/* ---- Whose name it is ---------------------------------------------------------------------------------------------------- */

struct found {
    struct in_addr ip;
    struct in6_addr ip6;
};

/* Members' names are one label. */
static bool find_member(const struct names *names, const char *name, struct found *found)
{
    const struct addresses *own = &names->filter->own;
    char target[INET_ADDRSTRLEN];
    struct in_addr ip;
    ssize_t length;

    if (names->directory < 0 || !name[0] || strchr(name, '.'))
        return false;
    length = readlinkat(names->directory, name, target, sizeof(target) - 1);
    if (length < 0)
        return false;
    target[length] = '\0';
    if (inet_pton(AF_INET, target, &ip) != 1 || !is_member_ip(own, ip))
        return false;
    found->ip = ip;
    found->ip6 = addresses_of_member(own, ip).ip6;
    return true;
}

static bool find(const struct names *names, const char *name, struct found *found)
{
    if (names->filter->scope == MSB_SCOPE_ANY && strcmp(name, host_name) == 0) {
        found->ip = names->filter->own.gateway;
        found->ip6 = names->filter->own.gateway6;
        return true;
    }
    return find_member(names, name, found);
}

/* ---- Answers ------------------------------------------------------------------------------------------------------------- */

/* The header and the question, echoed: authoritative, recursion available (4.1.1). */
static size_t begin_answer(const uint8_t *query, size_t question_end, uint8_t code, uint8_t *answer)
{
    memcpy(answer, query, question_end);
    answer[2] = (uint8_t)(0x84 | (query[2] & 1));
    answer[3] = (uint8_t)(0x80 | code);
    memset(answer + 6, 0, 6);
    if (question_end == HEADER_SIZE)
        memset(answer + 4, 0, 2);
    return question_end;
}

/* A resource record whose name is the question's (4.1.3, 4.1.4). */
static size_t add_record(uint8_t *answer, size_t size, uint16_t type, const void *data, uint8_t data_size)
{
    const uint8_t record[12] = { 0xc0, HEADER_SIZE, 0, (uint8_t)type, 0, ns_c_in, 0, 0, 0, TTL, 0, data_size };

    memcpy(answer + size, record, sizeof(record));
    memcpy(answer + size + sizeof(record), data, data_size);
    answer[7]++;
    return size + sizeof(record) + data_size;
}

size_t names_answer(const struct names *names, const uint8_t *query, size_t size, uint8_t answer[ANSWER_SIZE_MAX])
{
    bool outside = names->filter->scope == MSB_SCOPE_PUBLIC || names->filter->scope == MSB_SCOPE_ANY;
    struct question question;
    struct found found;
    size_t end;

    /* Answers are not answered. */
    if (size < HEADER_SIZE || (query[2] & 0x80))
        return 0;
    if (!parse_question(query, size, &question))
        return outside ? 0 : begin_answer(query, HEADER_SIZE, ns_r_formerr, answer);
    if (question.class != ns_c_in || !find(names, question.name, &found))
        return outside ? 0 : begin_answer(query, question.end, ns_r_nxdomain, answer);
    end = begin_answer(query, question.end, ns_r_noerror, answer);
    if (question.type == ns_t_a || question.type == ns_t_any)
        end = add_record(answer, end, ns_t_a, &found.ip, sizeof(found.ip));
    if (question.type == ns_t_aaaa || question.type == ns_t_any)
        end = add_record(answer, end, ns_t_aaaa, &found.ip6, sizeof(found.ip6));
    return end;
}
