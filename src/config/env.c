/* SPDX-License-Identifier: Apache-2.0 */
/*
 * KEY=VALUE. The value is everything behind the first '='; both may hold any byte but NUL.
 */
#include "config/text.h"

#include <stdlib.h>
#include <string.h>

struct msb_env {
    char *pair;  /* as it was given */
    char *key;   /* on its own */
    char *value; /* into pair */
};

msb_env *msb_env_parse(const char *text, size_t length, msb_error **err)
{
    struct text whole = text_of(text, length), key, value;
    msb_env *env;

    if (refuse_nul(err, "environment variable", whole) < 0)
        return NULL;
    if (!text_cut_first(whole, '=', &key, &value))
        return FAIL_NULL(refuse(err, "environment variable", whole, "has no '='; write KEY=VALUE"));
    if (key.length == 0)
        return FAIL_NULL(refuse(err, "environment variable", whole, "has no name before the '='; write KEY=VALUE"));

    env = calloc(1, sizeof(*env));
    if (env) {
        env->pair = text_copy(whole);
        env->key = text_copy(key);
    }
    if (!env || !env->pair || !env->key) {
        msb_env_free(env);
        return FAIL_NULL(fail_no_memory(err));
    }
    env->value = env->pair + key.length + 1;
    return env;
}

char *msb_env_print(const msb_env *env)
{
    return strdup(env->pair);
}

const char *msb_env_key(const msb_env *env)
{
    return env->key;
}

const char *msb_env_value(const msb_env *env)
{
    return env->value;
}

void msb_env_free(msb_env *env)
{
    if (!env)
        return;
    free(env->pair);
    free(env->key);
    free(env);
}
