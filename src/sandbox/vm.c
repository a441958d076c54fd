/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A VM as the library's user holds it. One thread at a time, but for signal, resize, stop and kill, which may come from any thread
 * while another waits: the lock is for them, and is never held while something blocks.
 */
#include "sandbox/vm.h"
#include "sandbox/caller.h"
#include "sandbox/sandbox.h"
#include "util/cleanup.h"

#include <pthread.h>
#include <stdlib.h>

struct msb_vm {
    struct spec spec;
    struct warnings warnings;
    struct vm_stdio stdio;
    int exit_status; /* -1: none yet */
    char *kernel_log;
    pthread_mutex_t lock;
    struct monitor_handle monitor; /* what the lock guards: it comes with spawn and goes with wait */
};

msb_vm *vm_new(struct spec *spec, struct warnings *warnings, const struct vm_stdio *stdio, msb_error **err)
{
    msb_vm *vm = calloc(1, sizeof(*vm));

    if (!vm) {
        spec_clear(spec);
        warnings_clear(warnings);
        return FAIL_NULL(fail(err, MSB_ERR_NO_MEMORY, "out of memory"));
    }
    *vm = (msb_vm){
        .spec = *spec,
        .warnings = *warnings,
        .stdio = *stdio,
        .exit_status = -1,
        .lock = PTHREAD_MUTEX_INITIALIZER,
        .monitor = { -1, -1 },
    };
    *spec = (struct spec){ 0 };
    *warnings = (struct warnings){ 0 };
    return vm;
}

const char *msb_vm_warning(const msb_vm *vm, size_t index)
{
    return index < vm->warnings.count ? vm->warnings.items[index] : NULL;
}

char *msb_vm_to_json(const msb_vm *vm, msb_error **err)
{
    return spec_to_json(&vm->spec, &vm->warnings, err);
}

/* ---- Start and end -------------------------------------------------------------------------------------------------------------- */

static void forget_last(msb_vm *vm)
{
    vm->exit_status = -1;
    free(vm->kernel_log);
    vm->kernel_log = NULL;
}

/* Takes the result. */
static void remember_last(msb_vm *vm, struct result *result)
{
    vm->exit_status = result->status;
    vm->kernel_log = steal_pointer(&result->kernel_log);
    result_clear(result);
}

int msb_vm_spawn(msb_vm *vm, msb_error **err)
{
    struct monitor_handle monitor = { -1, -1 };

    if (vm->monitor.socket >= 0)
        return fail(err, MSB_ERR_STATE, "the VM is running already");
    forget_last(vm);
    if (monitor_start(&vm->spec, &vm->stdio, 0, &monitor, err) < 0)
        return -1;
    pthread_mutex_lock(&vm->lock);
    vm->monitor = monitor;
    pthread_mutex_unlock(&vm->lock);
    return 0;
}

int msb_vm_fd(const msb_vm *vm)
{
    return vm->monitor.pidfd;
}

int msb_vm_wait(msb_vm *vm, msb_error **err)
{
    struct monitor_handle monitor = vm->monitor;
    struct result ended;
    int result, status;

    if (monitor.socket < 0)
        return fail(err, MSB_ERR_STATE, "the VM is not running");
    if (monitor_await(&monitor, err) < 0)
        return -1;
    /* From here on nobody sends to descriptors that are about to be closed. */
    pthread_mutex_lock(&vm->lock);
    vm->monitor = (struct monitor_handle){ -1, -1 };
    pthread_mutex_unlock(&vm->lock);
    result = monitor_collect(&monitor, &ended, err);
    status = ended.status;
    remember_last(vm, &ended);
    return result < 0 ? -1 : status;
}

/* ---- Launching ------------------------------------------------------------------------------------------------------------------ */

static int ask_to_detach(struct client *client, const struct patience *patience, msb_error **err)
{
    struct request request = { 0 };

    request_begin(&request, CONTROL_DETACH, 1);
    return client_send(client, &request, NULL, 0, patience, err);
}

/* 0: it is up; -1: it is not, and *result is filled in when its monitor said why. */
static int await_up(struct client *client, const struct patience *patience, struct result *result, msb_error **err)
{
    struct reader body;
    uint16_t type;

    if (client_receive(client, &type, &body, patience, err) < 0) {
        if (err && *err && msb_error_code(*err) == MSB_ERR_STATE) {
            msb_error_free(*err);
            *err = NULL;
            fail(err, MSB_ERR_VM, "the VM's monitor ended unexpectedly");
        }
        return -1;
    }
    if (type == CONTROL_DONE)
        return 0;
    if (type == CONTROL_ERROR)
        return client_fail(&body, err);
    if (type != CONTROL_RESULT || !result_decode(&body, result))
        return fail(err, MSB_ERR_PROTOCOL, "the sandbox's monitor sent a bad answer");
    return fail(err, result->code, "%s", result->message);
}

/* Ends it all, and waits until that is done. */
static void give_up(struct client *client)
{
    enum { PATIENCE_MS = 5000 };
    const struct patience patience = patience_of(PATIENCE_MS, -1);
    struct request request = { 0 };
    struct reader body;
    uint16_t type;

    request_begin(&request, CONTROL_KILL, 0);
    client_send(client, &request, NULL, 0, &patience, NULL);
    while (client_receive(client, &type, &body, &patience, NULL) == 0)
        continue;
    client_close(client);
}

static int name_it(msb_vm *vm, msb_error **err)
{
    if (!vm->spec.name)
        vm->spec.name = msb_sandbox_make_name(err);
    return vm->spec.name ? 0 : -1;
}

static int launch(msb_vm *vm, unsigned options, struct client *client, const struct patience *patience, msb_error **err)
{
    static const struct vm_stdio nothing = { -1, -1, -1 };
    struct monitor_handle monitor = { -1, -1 };
    struct result result = { .status = -1 };
    int up;

    if (name_it(vm, err) < 0 || monitor_start(&vm->spec, &nothing, options, &monitor, err) < 0)
        return -1;
    client_init(client, monitor.socket);
    up = ask_to_detach(client, patience, err);
    if (up == 0)
        up = await_up(client, patience, &result, err);
    if (up < 0) {
        give_up(client);
        remember_last(vm, &result);
    }
    return up;
}

msb_sandbox *msb_vm_launch(msb_vm *vm, unsigned flags, int timeout_ms, int cancel_fd, msb_error **err)
{
    const struct patience patience = patience_of(timeout_ms, cancel_fd);
    msb_error *error = NULL;
    struct client client;

    if (vm->monitor.socket >= 0)
        return FAIL_NULL(fail(err, MSB_ERR_STATE, "the VM is running already"));
    if (flags & ~(unsigned)MSB_LAUNCH_INPUT)
        return FAIL_NULL(fail(err, MSB_ERR_INVALID, "flags \"%u\" has bits that mean nothing", flags));
    forget_last(vm);
    if (launch(vm, LAUNCH_DETACH | (flags & MSB_LAUNCH_INPUT ? LAUNCH_INPUT : 0), &client, &patience, &error) < 0)
        return FAIL_NULL(fail_with(err, error));
    return sandbox_launched(vm->spec.name, &client, err);
}

const char *msb_vm_name(const msb_vm *vm)
{
    return vm->spec.name;
}

int msb_vm_start(msb_vm *vm, msb_error **err)
{
    return msb_vm_spawn(vm, err) < 0 ? -1 : msb_vm_wait(vm, err);
}

int msb_vm_exit_status(const msb_vm *vm)
{
    return vm->exit_status;
}

const char *msb_vm_kernel_log(const msb_vm *vm)
{
    return vm->kernel_log && *vm->kernel_log ? vm->kernel_log : NULL;
}

void msb_vm_free(msb_vm *vm)
{
    if (!vm)
        return;
    if (vm->monitor.socket >= 0) {
        msb_vm_kill(vm, NULL);
        msb_vm_wait(vm, NULL);
    }
    spec_clear(&vm->spec);
    warnings_clear(&vm->warnings);
    free(vm->kernel_log);
    pthread_mutex_destroy(&vm->lock);
    free(vm);
}

/* ---- While it runs ---------------------------------------------------------------------------------------------------------------- */

/* Frees the request in any case. */
static int send_to(msb_vm *vm, struct request *request, msb_error **err)
{
    int result;

    pthread_mutex_lock(&vm->lock);
    if (vm->monitor.socket < 0) {
        free(request->writer.data);
        result = fail(err, MSB_ERR_STATE, "the VM is not running");
    } else {
        result = monitor_send(&vm->monitor, request, err);
    }
    pthread_mutex_unlock(&vm->lock);
    return result;
}

int msb_vm_signal(msb_vm *vm, int signal, msb_error **err)
{
    struct request request = { 0 };

    if (check_signal(signal, err) < 0)
        return -1;
    request_begin(&request, CONTROL_SIGNAL, 0);
    put_u8(&request.writer, (uint8_t)signal);
    return send_to(vm, &request, err);
}

int msb_vm_resize(msb_vm *vm, uint16_t rows, uint16_t columns, msb_error **err)
{
    struct request request = { 0 };

    request_begin(&request, CONTROL_RESIZE, 0);
    put_u16(&request.writer, rows);
    put_u16(&request.writer, columns);
    return send_to(vm, &request, err);
}

int msb_vm_stop(msb_vm *vm, unsigned timeout_ms, msb_error **err)
{
    struct request request = { 0 };

    request_begin(&request, CONTROL_STOP, 0);
    put_u32(&request.writer, timeout_ms);
    return send_to(vm, &request, err);
}

int msb_vm_kill(msb_vm *vm, msb_error **err)
{
    struct request request = { 0 };

    request_begin(&request, CONTROL_KILL, 0);
    return send_to(vm, &request, err);
}
