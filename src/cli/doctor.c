/* SPDX-License-Identifier: Apache-2.0 */
/*
 * msb doctor: tells what of this machine is fit to run a sandbox. doctor_look.c looks.
 */
#include "cli/doctor.h"
#include "cli/command.h"
#include "cli/json.h"

#include "config/text.h"

#include <stdlib.h>

enum { EXIT_UNFIT = 1, WHAT_WIDTH = 18 };

bool findings_are_fit(const struct findings *findings)
{
    for (size_t i = 0; i < findings->count; i++)
        if (findings->items[i].required && !findings->items[i].ok)
            return false;
    return true;
}

static void print_text(const struct findings *findings)
{
    for (size_t i = 0; i < findings->count; i++) {
        const struct finding *f = &findings->items[i];
        int column = printf("%-4s  %-*s  ", f->ok ? "ok" : f->required ? "BAD" : "-", WHAT_WIDTH, f->what);

        write_folded(stdout, f->detail, column, column);
        if (f->mend) {
            printf("%*s", column, "");
            write_folded(stdout, f->mend, column, column);
        }
    }
    if (findings_are_fit(findings))
        printf("\nSandboxes can run here, with the %s engine.\n", findings->engine);
    else
        printf("\nNo sandbox can run here until what is BAD above is mended.\n");
}

static bool fill_finding(cJSON *object, const struct finding *f)
{
    return json_add(object, "what", cJSON_CreateString(f->what)) && json_add(object, "required", cJSON_CreateBool(f->required)) &&
           json_add(object, "ok", cJSON_CreateBool(f->ok)) && json_add(object, "detail", cJSON_CreateString(f->detail)) &&
           json_add(object, "mend", f->mend ? cJSON_CreateString(f->mend) : cJSON_CreateNull());
}

static bool fill(cJSON *object, const struct findings *findings)
{
    cJSON *array = cJSON_CreateArray();

    if (!json_add(object, "version", cJSON_CreateString(msb_version())) ||
        !json_add(object, "fit", cJSON_CreateBool(findings_are_fit(findings))) ||
        !json_add(object, "engine", findings->engine ? cJSON_CreateString(findings->engine) : cJSON_CreateNull())) {
        cJSON_Delete(array);
        return false;
    }
    if (!json_add(object, "findings", array))
        return false;
    for (size_t i = 0; i < findings->count; i++) {
        cJSON *item = cJSON_CreateObject();

        if (!json_append(array, item) || !fill_finding(item, &findings->items[i]))
            return false;
    }
    return true;
}

static int print_json(const struct findings *findings, msb_error **err)
{
    cJSON *object = cJSON_CreateObject();
    int result = object && fill(object, findings) ? json_print(object, err) : fail_no_memory(err);

    cJSON_Delete(object);
    return result;
}

static int set_json(void *target, const char *value, msb_error **err)
{
    (void)value, (void)err;
    *(bool *)target = true;
    return 0;
}

static const struct option options[] = {
    { "json", 0, NULL, "Output", "Tell it as JSON.", set_json },
    { 0 },
};

static int tell(bool json, msb_error **err)
{
    struct findings findings = { 0 };
    int result = doctor_look(&findings, err);
    bool fit = findings_are_fit(&findings);

    if (result == 0 && json)
        result = print_json(&findings, err);
    else if (result == 0)
        print_text(&findings);
    findings_clear(&findings);
    return result < 0 ? -1 : fit ? EXIT_SUCCESS : EXIT_UNFIT;
}

static int run(const struct command *command, int argc, char **argv)
{
    msb_error *error = NULL;
    bool json = false;
    int status, operands = command_options(command, argc, argv, &json, &status);

    if (operands < 0)
        return status;
    if (operands < argc) {
        refuse(&error, "argument", text_of(argv[operands], MSB_LENGTH_UNKNOWN), "is one too many");
        return report_usage(command, error);
    }
    status = tell(json, &error);
    if (status < 0)
        return report(error);
    return finish_output() ? status : EXIT_MSB_FAILED;
}

const struct command command_doctor = {
    .name = "doctor",
    .synopsis = "[OPTIONS]",
    .summary = "Tell whether sandboxes can run here, and what would mend it",
    .description = "Tells what of this machine is fit to run a sandbox: engines, guest kernel, packages, limits. What is not "
                   "comes with what "
                   "would mend it. Ends with 0 if a sandbox can run here, and with 1 otherwise.",
    .options = options,
    .run = run,
};
